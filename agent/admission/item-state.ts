/** One byte an item, in the ledger and in its mirror. Ended states are `ended` plus the status code of kernel/receipts.ts. */
export const ITEM = { absent: 0, waiting: 1, leased: 2, ended: 16 } as const;
