// Generated from protos/link.proto by scripts/proto.ts. Do not edit.
import type { Reader, Writer } from 'protobufjs/minimal.js';

interface Codec<M> {
  encode(message: M, writer?: Writer): Writer;
  decode(reader: Reader | Uint8Array, length?: number): M;
}

export interface LinkFrame {
  messages: LinkMessage[];
}

export interface LinkMessage {
  challenge?: Challenge;
  hello?: Hello;
  welcome?: Welcome;
  bye?: Bye;
  ping?: Ping;
  pong?: Pong;
  credit?: Credit;
  deliver?: Deliver;
  admitted?: Admitted;
  refusal?: Refusal;
  outcome?: Outcome;
  outcomeAck?: OutcomeAck;
  cancel?: Cancel;
  cancelAck?: CancelAck;
  running?: Running;
  log?: Log;
  status?: Status;
  handBack?: HandBack;
  accessAsk?: AccessAsk;
  accessReply?: AccessReply;
  readonly body?: 'challenge' | 'hello' | 'welcome' | 'bye' | 'ping' | 'pong' | 'credit' | 'deliver' | 'admitted' | 'refusal' | 'outcome' | 'outcomeAck' | 'cancel' | 'cancelAck' | 'running' | 'log' | 'status' | 'handBack' | 'accessAsk' | 'accessReply';
}

export interface Challenge {
  acceptor: string;
  nonce: string;
  protocolMin: number;
  protocolMax: number;
}

export interface Hello {
  token: string;
  descriptor: string;
  status: string;
  protocolMin: number;
  protocolMax: number;
}

export interface Welcome {
  protocol: number;
  sessionEpoch: number;
}

export interface Bye {
  code: string;
  message: string;
  retryAfterS: number;
}

export interface Ping {
  id: number;
}

export interface Pong {
  id: number;
}

export interface Credit {
  items: number;
  bytes: number;
}

export interface Deliver {
  tickets: DeliveredTicket[];
  chains: Chain[];
  manifests: Uint8Array[];
}

export interface Chain {
  links: string[];
}

export interface DeliveredTicket {
  id: string;
  deliveryEpoch: number;
  ticket: string;
  chain: number;
  manifest: number;
  leaves: Uint8Array;
  items: number[];
  itemSizes: number[];
  itemBytes: Uint8Array;
  inlineSizes: number[];
  inline: Uint8Array;
}

export interface Admitted {
  tickets: AdmittedTicket[];
}

export interface AdmittedTicket {
  id: string;
  deliveryEpoch: number;
  items: number[];
}

export interface Refusal {
  id: string;
  deliveryEpoch: number;
  items: number[];
  receipt: string;
}

export interface Outcome {
  packNo: number;
  pack: Pack | undefined;
}

export interface OutcomeAck {
  packNos: number[];
}

export interface Pack {
  receipts: string;
  principal: string;
  tickets: PackTicket[];
  details: Uint8Array[];
}

export interface PackTicket {
  id: string;
  jti: string;
  ticketHash: string;
  items: number[];
  attempts: number[];
  statuses: Uint8Array;
  detail: number[];
  meas: number[];
  resultDigests: Uint8Array;
  resultSizes: number[];
  results: Uint8Array;
}

export interface Cancel {
  cancelNo: number;
  token: string;
  chain: Chain | undefined;
}

export interface CancelAck {
  cancelNos: number[];
}

export interface Running {
  id: string;
  items: number[];
  state: string;
  detail: string;
  done: number;
  total: number;
  attempt: number;
}

export interface Log {
  id: string;
  item: number;
  attempt: number;
  offset: number;
  data: Uint8Array;
  dropped: number;
}

export interface Status {
  token: string;
}

export interface HandBack {
  handBackNo: number;
  ticket: DeliveredTicket | undefined;
}

export interface AccessAsk {
  askNo: number;
  token: string;
  chain: Chain | undefined;
}

export interface AccessReply {
  askNo: number;
  token: string;
}

export interface PilotFrame {
  messages: PilotMessage[];
}

export interface PilotMessage {
  challenge?: Challenge;
  hello?: PilotHello;
  welcome?: PilotWelcome;
  bye?: Bye;
  ping?: Ping;
  pong?: Pong;
  spec?: Spec;
  launch?: Launch;
  cancel?: CancelLeases;
  stop?: Stop;
  started?: Started;
  progress?: Progress;
  log?: PilotLog;
  done?: Done;
  doneAck?: DoneAck;
  draining?: Draining;
  gangReady?: GangReady;
  gangGo?: GangGo;
  readonly body?: 'challenge' | 'hello' | 'welcome' | 'bye' | 'ping' | 'pong' | 'spec' | 'launch' | 'cancel' | 'stop' | 'started' | 'progress' | 'log' | 'done' | 'doneAck' | 'draining' | 'gangReady' | 'gangGo';
}

export interface PilotHello {
  token: string;
  blockToken: string;
  pilotJwk: string;
  held: HeldLease[];
  node: string;
  pid: number;
  slots: number;
  protocolMin: number;
  protocolMax: number;
  leftS: number;
  gpus: number;
  cores: number;
  memMib: number;
  accelerator: string;
  gangs: boolean;
}

export interface HeldLease {
  key: number;
  attempt: number;
  leaseEpoch: number;
}

export interface PilotWelcome {
  protocol: number;
  sessionEpoch: number;
  drop: HeldLease[];
}

export interface Spec {
  specNo: number;
  poolKey: string;
  adapter: string;
  entry: Uint8Array;
  modelRoot: string;
  modelDigest: string;
  variant: string;
  runtime: string;
  image: string;
  threads: number;
  timeoutS: number;
  maxBytes: number;
  uncertainty: Uint8Array;
  manifest: string;
  gpus: number;
  cores: number;
  memMib: number;
  accelerator: string;
}

export interface Launch {
  specNo: number;
  keys: number[];
  attempts: number[];
  leaseEpoch: number;
  itemSizes: number[];
  itemBytes: Uint8Array;
  inlineSizes: number[];
  inline: Uint8Array;
  files: FileArg[];
  outDirs: Uint8Array;
  gang: Gang | undefined;
}

export interface Gang {
  nodeRank: number;
  nodes: string[];
  ranksPerNode: number;
}

export interface GangReady {
  lease: HeldLease | undefined;
  port: number;
}

export interface GangGo {
  lease: HeldLease | undefined;
  address: string;
}

export interface FileArg {
  index: number;
  arg: number;
  path: string;
}

export interface CancelLeases {
  leases: HeldLease[];
  reason: string;
}

export interface Stop {
  reason: string;
  graceS: number;
}

export interface Started {
  keys: number[];
  attempts: number[];
  leaseEpoch: number;
  state: string;
}

export interface Progress {
  key: number;
  attempt: number;
  leaseEpoch: number;
  done: number;
  total: number;
  perSecond: number;
}

export interface PilotLog {
  key: number;
  attempt: number;
  data: Uint8Array;
  dropped: number;
}

export interface Draining {
  reason: string;
  leftS: number;
}

export interface Done {
  doneNo: number;
  keys: number[];
  attempts: number[];
  leaseEpochs: number[];
  statuses: Uint8Array;
  detail: number[];
  details: Uint8Array[];
  resultDigests: Uint8Array;
  resultSizes: number[];
  results: Uint8Array;
  files: FileResult[];
  meas: number[];
  measRecords: Uint8Array[];
}

export interface FileResult {
  index: number;
  path: string;
  size: number;
}

export interface DoneAck {
  doneNo: number;
}

export const farfield: {
  readonly LinkFrame: Codec<LinkFrame>;
  readonly LinkMessage: Codec<LinkMessage>;
  readonly Challenge: Codec<Challenge>;
  readonly Hello: Codec<Hello>;
  readonly Welcome: Codec<Welcome>;
  readonly Bye: Codec<Bye>;
  readonly Ping: Codec<Ping>;
  readonly Pong: Codec<Pong>;
  readonly Credit: Codec<Credit>;
  readonly Deliver: Codec<Deliver>;
  readonly Chain: Codec<Chain>;
  readonly DeliveredTicket: Codec<DeliveredTicket>;
  readonly Admitted: Codec<Admitted>;
  readonly AdmittedTicket: Codec<AdmittedTicket>;
  readonly Refusal: Codec<Refusal>;
  readonly Outcome: Codec<Outcome>;
  readonly OutcomeAck: Codec<OutcomeAck>;
  readonly Pack: Codec<Pack>;
  readonly PackTicket: Codec<PackTicket>;
  readonly Cancel: Codec<Cancel>;
  readonly CancelAck: Codec<CancelAck>;
  readonly Running: Codec<Running>;
  readonly Log: Codec<Log>;
  readonly Status: Codec<Status>;
  readonly HandBack: Codec<HandBack>;
  readonly AccessAsk: Codec<AccessAsk>;
  readonly AccessReply: Codec<AccessReply>;
  readonly PilotFrame: Codec<PilotFrame>;
  readonly PilotMessage: Codec<PilotMessage>;
  readonly PilotHello: Codec<PilotHello>;
  readonly HeldLease: Codec<HeldLease>;
  readonly PilotWelcome: Codec<PilotWelcome>;
  readonly Spec: Codec<Spec>;
  readonly Launch: Codec<Launch>;
  readonly Gang: Codec<Gang>;
  readonly GangReady: Codec<GangReady>;
  readonly GangGo: Codec<GangGo>;
  readonly FileArg: Codec<FileArg>;
  readonly CancelLeases: Codec<CancelLeases>;
  readonly Stop: Codec<Stop>;
  readonly Started: Codec<Started>;
  readonly Progress: Codec<Progress>;
  readonly PilotLog: Codec<PilotLog>;
  readonly Draining: Codec<Draining>;
  readonly Done: Codec<Done>;
  readonly FileResult: Codec<FileResult>;
  readonly DoneAck: Codec<DoneAck>;
};
