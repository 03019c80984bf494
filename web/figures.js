/*
 * From the server's absolute counters to rates and totals. Counters may start again from 0 with the server;
 * totals do not. A sample's time is the server's: what is heard may be a fraction of a second old.
 */

export const WINDOW_MS = 60000;
const RATE_MS = 1000;

/* A counter that goes on where it was when the server's starts again from 0. */
class Total {
  before = 0;
  last = 0;
  set(value) {
    if (value < this.last) this.before += this.last;
    this.last = value;
  }
  get value() { return this.before + this.last; }
}

class Totals extends Map {
  setAll(values) {
    for (const name of Object.keys(values)) if (!this.has(name) && values[name] > 0) this.set(name, new Total());
    for (const [name, total] of this) total.set(values[name] || 0);
  }
}

export const figures = {
  counters: null,
  campaign: null,
  choice: "",
  accepted: new Total(),
  attempts: new Total(),
  reasons: new Totals(),
  samples: [],  // {at, accepted, sent, attempts, refused: {reason: n}, ...rates}
  most: 0,
  clock: Infinity, // smallest seen difference between this page's clock and the server's
};

export const sum = (list, key) => (list || []).reduce((total, item) => total + (item[key] || 0), 0);

export function figuresReset() {
  figures.reasons = new Totals();
  figures.samples = [];
  figures.most = 0;
}

/* The newest sample that is at least a second older, else the oldest; events come each 250 ms or so. */
function sampleBefore(at) {
  for (let i = figures.samples.length - 1; i >= 0; i--)
    if (at - figures.samples[i].at >= RATE_MS - 40) return figures.samples[i];
  return figures.samples[0];
}

/*
 * When the counters were read, by this page's clock. The smallest difference is that of an event without
 * delay; a difference that is far from it means that a clock was set.
 */
function readAt(counters) {
  const arrived = performance.now();
  const difference = arrived - Date.parse(counters.time);
  if (!Number.isFinite(difference)) return arrived;
  if (Math.abs(difference - figures.clock) > 2000) figures.clock = difference;
  figures.clock = Math.min(figures.clock, difference);
  return arrived - (difference - figures.clock);
}

function addRates(now) {
  const then = sampleBefore(now.at);
  const seconds = then ? Math.max((now.at - then.at) / 1000, 0.2) : 1;
  const rate = (after, before) => (then ? Math.max(0, after - (before || 0)) / seconds : 0);
  now.acceptedRate = rate(now.accepted, then?.accepted);
  now.sentRate = rate(now.sent, then?.sent);
  // A limit may be used up within less than a second: what started in a shorter stretch is not blown up.
  now.attemptRate = rate(now.attempts, then?.attempts) * Math.min(seconds, 1);
  now.refusedRates = {};
  for (const [name, total] of Object.entries(now.refused))
    now.refusedRates[name] = rate(total, then?.refused[name]);
  now.refusedRate = Object.values(now.refusedRates).reduce((a, b) => a + b, 0);
  if (then && seconds >= 0.95) figures.most = Math.max(figures.most, Math.round(now.attemptRate));
}

export function figuresAdd(counters) {
  const campaigns = counters.campaigns || [];
  const campaign = campaigns.find((c) => c.name === figures.choice) || campaigns[0] || null;
  figures.counters = counters;
  figures.campaign = campaign;
  figures.accepted.set(counters.accepted || 0);
  figures.attempts.set(sum(counters.destinations, "attempts"));
  figures.reasons.setAll((campaign || counters).refused || {});
  const now = {
    at: readAt(counters),
    accepted: campaign ? campaign.entries : figures.accepted.value,
    sent: campaign ? campaign.sent : sum(counters.destinations, "succeeded"),
    attempts: figures.attempts.value,
    refused: Object.fromEntries([...figures.reasons].map(([name, total]) => [name, total.value])),
    waiting: sum(counters.queues, "ready") + sum(counters.queues, "delayed") + sum(counters.queues, "blocked"),
    left: campaign ? campaign.left : 0,
  };
  addRates(now);
  if (figures.samples.length > 0 && now.at < figures.samples.at(-1).at) figures.samples = [];
  figures.samples.push(now);
  while (figures.samples.length > 2 && figures.samples[1].at < now.at - WINDOW_MS - 2000) figures.samples.shift();
  return now;
}

/* The limit of the destination, if there is only one: then it can be drawn into its chart. */
export function paceLimit() {
  const destinations = figures.counters?.destinations || [];
  return destinations.length === 1 && destinations[0].rate > 0 ? destinations[0].rate : 0;
}
