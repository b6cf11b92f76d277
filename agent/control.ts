/**
 * What a running agent answers on its control socket: the types, for the process and its verbs alike.
 *
 * Invariants
 *  C1 The socket is the account's own (base/control.ts): whoever may open it may stop the endpoint anyway.
 *  C2 Nothing here decides what runs: that is the policy file's alone.
 */
import type { ControlHandlers } from '#base/control.ts';

export interface BlockView {
  readonly id: string;
  /** starting, running, draining, ended */
  readonly state: string;
  readonly detail: string;
  readonly pilots: number;
  readonly slots: number;
  readonly busy: number;
}

export interface AgentStatus {
  readonly endpoint: string;
  readonly name: string;
  readonly pid: number;
  /** Seconds since 1970. */
  readonly since: number;
  readonly state: 'open' | 'paused' | 'draining';
  /** Why it is not open, in a sentence. */
  readonly reason?: string;
  /** Since when, in seconds since 1970, while it drains. */
  readonly draining?: { readonly reason: string; readonly since: number };
  readonly breaker?: { readonly failures: number; readonly open: boolean };
  readonly descriptor: { readonly seq: number; readonly expS: number };
  readonly policy: { readonly digest: string; readonly rules: number; readonly problem?: string };
  readonly link: {
    readonly state: 'live' | 'dialling' | 'waiting' | 'stopped';
    readonly via: string;
    readonly detail: string;
  };
  readonly broker: string;
  readonly ledger: {
    readonly epoch: { readonly n: number; readonly since: number };
    readonly commits: number;
    readonly packsToSend: number;
  };
  readonly work: {
    readonly tickets: number;
    readonly waiting: number;
    readonly leased: number;
    readonly stale: number;
  };
  readonly blocks: readonly BlockView[];
}

/** Why one item does not run yet, or what it does. */
export interface WhyAnswer {
  readonly id: string;
  readonly item?: number;
  /** A word for programs: refused, paused, draining, ceiling, no-block, block, slots, running, ending, cancelled, done, not-here. */
  readonly code: string;
  readonly sentence: string;
  /** Items that were admitted before it and wait. */
  readonly ahead?: number;
  readonly block?: string;
  /** Of its ticket. */
  readonly items: {
    readonly absent: number;
    readonly waiting: number;
    readonly running: number;
    readonly ended: number;
  };
}

/** What the process gives to its socket. */
export interface AgentControl {
  status(): AgentStatus;
  /** Ends the process; with `blocks` also every pilot, with its runners. Resolves when that is done. */
  stop(options: { readonly blocks: boolean }): Promise<void>;
  /** Reads descriptor, keys and policy again. */
  reload(): Promise<void>;
  /** Nothing new is admitted or started from now on, restarts included; what runs ends. */
  drain(reason: string): Promise<void>;
  /** Undefined where no open work has this id. */
  why(text: string): WhyAnswer | { readonly ambiguous: readonly string[] } | undefined;
  /** After a breaker, a clock jump or a drain: the admin has looked. */
  resume(): Promise<void>;
}

export const VERBS = {
  status: 'status',
  stop: 'stop',
  reload: 'reload',
  resume: 'resume',
  drain: 'drain',
  why: 'why',
} as const;

const MAX_REASON_CHARS = 500;

export function controlHandlers(control: AgentControl): ControlHandlers {
  return {
    [VERBS.status]: async () => control.status(),
    [VERBS.stop]: async ({ body }) => {
      const { blocks } = body as { blocks?: unknown };
      // The answer must leave before the socket closes: the process goes on ending after it.
      void control.stop({ blocks: blocks !== false });
      return { stopping: true };
    },
    [VERBS.reload]: async () => {
      await control.reload();
      return control.status();
    },
    [VERBS.drain]: async ({ body }) => {
      const { reason } = body as { reason?: unknown };
      const given = typeof reason === 'string' ? reason.trim().slice(0, MAX_REASON_CHARS) : '';
      await control.drain(given === '' ? 'its admin asked for it' : given);
      return control.status();
    },
    [VERBS.why]: async ({ body }) => control.why(String((body as { id?: unknown }).id ?? '')) ?? { absent: true },
    [VERBS.resume]: async () => {
      await control.resume();
      return control.status();
    },
  };
}
