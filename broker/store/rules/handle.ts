/** One command to its rule, and one question to its answer. */
import type { Rows } from '../rows.ts';
import type { Commands, Reads } from '../store.ts';
import { accessAsked, accessTold } from './access.ts';
import { answers } from './answers.ts';
import { begin, cancelAcked, status } from './begin.ts';
import { addUser, enrol, invite, keepBlob, probe, purge, restored } from './keep.ts';
import { cancel, expire, queue } from './queue.ts';
import { admitted, complete, deliver, handBack, refuse } from './work.ts';

/** A command as it crosses the thread. */
export type CommandMessage = {
  readonly [K in keyof Commands]: { readonly kind: K; readonly command: Commands[K]['in'] };
}[keyof Commands];
export type QuestionMessage = {
  readonly [K in keyof Reads]: { readonly kind: K; readonly question: Reads[K]['in'] };
}[keyof Reads];

const RULES: { readonly [K in keyof Commands]: (rows: Rows, command: Commands[K]['in']) => Commands[K]['out'] } = {
  queue,
  begin,
  deliver,
  admitted,
  complete,
  refuse,
  handBack,
  cancel,
  cancelAcked,
  status,
  expire,
  purge,
  invite,
  addUser,
  enrol,
  keepBlob,
  accessAsked,
  accessTold,
  restored,
  probe,
};

export function handle(rows: Rows, message: CommandMessage): Commands[keyof Commands]['out'] {
  // Kind and command belong together by the type of the message; the index loses that.
  const rule = RULES[message.kind] as (
    rows: Rows,
    command: CommandMessage['command'],
  ) => Commands[keyof Commands]['out'];
  return rule(rows, message.command);
}

export function answer(rows: Rows, message: QuestionMessage): Reads[keyof Reads]['out'] {
  const ask = answers[message.kind] as (rows: Rows, question: QuestionMessage['question']) => Reads[keyof Reads]['out'];
  return ask(rows, message.question);
}
