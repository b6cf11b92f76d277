/** How much of a node a runner takes, and what fits beside it. */
import t from 'tap';
import { NO_LOAD, needText, plus, roomFor, shareOf, tooBig } from '#kernel/resources.ts';

const NODE = { slots: 4, cores: 8, memMiB: 16_000, gpus: 2, accelerator: 'nvidia' };
const need = (over: object) => ({ cores: 0, memMiB: 0, gpus: 0, accelerator: '', ...over });

t.test('a function that says nothing takes what a slot has, so that slots of them fill a node', async (t) => {
  t.strictSame(shareOf(NODE, need({})), { slots: 1, cores: 2, memMiB: 4000, gpus: 0 });
  t.equal(Math.floor(roomFor(NODE, NO_LOAD, need({}))), 4);
  const third = { ...NODE, slots: 3, cores: 2 };
  const two = plus(NO_LOAD, shareOf(third, need({})), 2);
  t.equal(Math.floor(roomFor(third, two, need({}))), 1, 'rounding takes no slot away');
});

t.test('the scarcest of slots, cores, memory and accelerators says how many fit', async (t) => {
  t.equal(Math.floor(roomFor(NODE, NO_LOAD, need({ cores: 4 }))), 2);
  t.equal(Math.floor(roomFor(NODE, NO_LOAD, need({ cores: 1, memMiB: 6000 }))), 2);
  t.equal(Math.floor(roomFor(NODE, NO_LOAD, need({ cores: 1, memMiB: 1, gpus: 1 }))), 2);
  t.equal(Math.floor(roomFor(NODE, NO_LOAD, need({ cores: 1, memMiB: 1 }))), 4, 'slots are a bound too');
  const beside = plus(NO_LOAD, shareOf(NODE, need({ cores: 6, memMiB: 4000 })));
  t.equal(Math.floor(roomFor(NODE, beside, need({}))), 1);
  t.equal(roomFor(NODE, NO_LOAD, need({ accelerator: 'amd' })), 0);
});

t.test('what is not known of a node refuses nothing; what is known refuses with both numbers', async (t) => {
  const unknown = { slots: 2, cores: 0, memMiB: 0, gpus: 0, accelerator: '' };
  t.equal(tooBig(unknown, need({ cores: 64, memMiB: 1e6, gpus: 8, accelerator: 'amd' })), undefined);
  t.equal(Math.floor(roomFor(unknown, NO_LOAD, need({ cores: 64, gpus: 8 }))), 2);
  t.equal(tooBig(NODE, need({ cores: 8, memMiB: 16_000, gpus: 2, accelerator: 'nvidia' })), undefined);
  t.equal(tooBig(NODE, need({ cores: 64 })), 'it asks for 64 cores, and the largest node here has 8');
  t.match(tooBig(NODE, need({ memMiB: 16_001 })), /16001 MiB of memory, .* 16000/);
  t.match(tooBig(NODE, need({ gpus: 3 })), /3 accelerators, .* 2/);
  t.match(tooBig(NODE, need({ accelerator: 'amd' })), /kind amd, and those here are nvidia/);
  t.equal(needText(need({})), undefined);
  t.equal(needText(need({ cores: 2, gpus: 1, accelerator: 'amd' })), '2 cores, 1 amd accelerator');
});
