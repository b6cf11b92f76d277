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

/** What the process gives to its socket. */
export interface AgentControl {
  status(): AgentStatus;
  /** Ends the process; with `blocks` also every pilot, with its runners. Resolves when that is done. */
  stop(options: { readonly blocks: boolean }): Promise<void>;
  /** Reads descriptor, keys and policy again. */
  reload(): Promise<void>;
  /** After a breaker or a clock jump: the admin has looked. */
  resume(): Promise<void>;
}

export const VERBS = { status: 'status', stop: 'stop', reload: 'reload', resume: 'resume' } as const;

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
    [VERBS.resume]: async () => {
      await control.resume();
      return control.status();
    },
  };
}
