// Load for POST /predict, for k6 1.x: `k6 run -e BASE_URL=http://127.0.0.1:8000 -e PROFILE=smoke load/load.js`, or
// `make load PROFILE=smoke`. load/README.md has the table of the variables; each is declared once, in the next lines.
//
// A warm request takes from a fixed set of texts, as people repeat themselves; a cold one holds a text never sent
// before. A tabular model, which refuses texts, is sent rows of numbers from the ranges that /model/info names.
// Thresholds are the promise in slo.json: the exit status is 99 when it was broken.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { SharedArray } from 'k6/data';
import { Counter, Rate, Trend } from 'k6/metrics';

const BASE_URL = required('BASE_URL', /^https?:\/\/[^/\s]+$/, 'such as http://127.0.0.1:8000, without a path');
const PROFILE = variable('PROFILE', 'smoke');
const DURATION_SCALE = number('DURATION_SCALE', 1, 0.001, 1000); // all durations times this
const CACHE_RATE = number('CACHE_RATE', 0.95, 0, 1); // share of warm requests
const BAD_RATE = number('BAD_RATE', 0, 0, 1); // share of requests that must be refused with a 4xx
const TEXTS_PER_REQUEST = number('TEXTS_PER_REQUEST', 1, 1, 10000, 1);
const THINK_SECONDS = number('THINK_SECONDS', 0, 0, 3600); // pause of a virtual user between two requests
const WAIT_SECONDS = number('WAIT_SECONDS', 0, 0, 3600); // for a first answer, where the service may still be starting
const MAX_VUS = number('MAX_VUS', 1000, 10, 100000, 1); // peak of ramp and spike
const START_RATE = number('START_RATE', 200, 1, 1e6, 1); // requests/s of breakpoint's first step, and of soak
const MAX_RATE = number('MAX_RATE', 20000, 1, 1e6); // requests/s at which breakpoint ends at the latest
const HOST_HEADER = variable('HOST_HEADER', ''); // for a gateway that routes by host
const API_KEY = variable('API_KEY', ''); // sent in API_KEY_HEADER
const API_KEY_HEADER = variable('API_KEY_HEADER', 'X-API-Key');
const INSECURE_TLS = choice('INSECURE_TLS', ['0', '1']) === '1'; // accept any certificate
const REQUEST_TIMEOUT = '60s';

const SLO = JSON.parse(open('./slo.json'));
const WARM = new SharedArray('warm', () => JSON.parse(open('./texts.json')).warm);
const COLD = new SharedArray('cold', () => JSON.parse(open('./texts.json')).cold);

const BREAKPOINT_STEP_SECONDS = Math.max(15 * DURATION_SCALE, 1); // k6 wants a second at least
const BREAKPOINT_FACTOR = 1.15;
const MAX_UNDER_WAY = 250;
const SLOW = `p(${SLO.latency_share * 100})<${SLO.latency_milliseconds}`;
const BROKEN = `rate<${(1 - SLO.availability).toFixed(6)}`;

const latencyWarm = new Trend('latency_warm', true);
const latencyCold = new Trend('latency_cold', true);
const serverErrors = new Rate('server_errors'); // 5xx, or no answer at all
const refused = new Rate('refused'); // 429
const cacheHitsWarm = new Rate('cache_hits_warm'); // texts, by the server's X-Cache
const cacheHitsCold = new Rate('cache_hits_cold');
const textsSent = new Counter('texts_sent'); // in requests that were answered with 200

const PROFILES = {
  smoke: () => ({ smoke: { executor: 'constant-vus', vus: 2, duration: seconds(Math.max(10, 1 / DURATION_SCALE)) } }),
  mission: () => ({ mission: users(1, [[30, 10], [420, 10], [180, 0]]) }),
  ramp: () => ({ ramp: users(10, [[300, MAX_VUS], [60, MAX_VUS]]) }),
  spike: () => ({ spike: users(10, [[30, 10], [1, MAX_VUS], [60, MAX_VUS], [1, 10], [30, 10]]) }),
  breakpoint: () => Object.fromEntries(breakpointRates().map((rate, index) => [stepName(rate), arrivals(rate, index)])),
  soak: () => ({ soak: { ...arrivals(START_RATE, 0), duration: seconds(7200) } }),
};
if (!(PROFILE in PROFILES)) throw new Error(`PROFILE=${PROFILE}: one of ${Object.keys(PROFILES).join(', ')}`);

export const options = {
  scenarios: PROFILES[PROFILE](),
  thresholds: PROFILE === 'breakpoint' ? breakpointThresholds() : {
    'http_req_duration{phase:predict}': [SLOW],
    server_errors: [BROKEN],
    checks: ['rate==1'],
  },
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(95)', 'p(99)'],
  insecureSkipTLSVerify: INSECURE_TLS,
  setupTimeout: '300s',
};

const HEADERS = Object.assign(
  { 'Content-Type': 'application/json' },
  HOST_HEADER && { Host: HOST_HEADER },
  API_KEY && { [API_KEY_HEADER]: API_KEY },
);
// Unique among all virtual users of all runs: the time of this one's start, and its number within the test.
const STARTED = Date.now().toString(36);
let sent = 0;

// What is sent to a tabular model, or null: its columns, and rows that stand in the place of the warm texts.
export function setup() {
  const first = patiently({ text: WARM.slice(0, TEXTS_PER_REQUEST) });
  const columns = first.status === 422 ? columnsOfModel() : null;
  if (first.status !== 200 && !columns) abort(first);
  const table = columns && { columns, warm: WARM.map(() => rowOf(columns)) };
  for (let start = columns ? 0 : TEXTS_PER_REQUEST; start < WARM.length; start += TEXTS_PER_REQUEST) {
    const answer = patiently(bodyOf(table, (table ? table.warm : WARM).slice(start, start + TEXTS_PER_REQUEST)));
    if (answer.status !== 200) abort(answer);
  }
  return table;
}

export default function (table) {
  if (Math.random() < BAD_RATE) sendBad(table);
  else send(Math.random() < CACHE_RATE, table);
  if (THINK_SECONDS) sleep(THINK_SECONDS);
}

function patiently(body) {
  const expected = http.expectedStatuses(200, 422);
  const warmUp = () => post(body, { tags: { phase: 'setup' }, responseCallback: expected });
  const patience = Date.now() + WAIT_SECONDS * 1000;
  let answer = warmUp();
  while ([0, 503].includes(answer.status) && Date.now() < patience) {
    sleep(1);
    answer = warmUp();
  }
  return answer;
}

function abort(answer) {
  const what = answer.status ? `answers ${answer.status} ${String(answer.body).slice(0, 200)}` : answer.error;
  exec.test.abort(`BASE_URL=${BASE_URL}: POST /predict ${what}`);
}

function columnsOfModel() {
  const answer = http.get(`${BASE_URL}/model/info`, { headers: HEADERS, timeout: REQUEST_TIMEOUT });
  return answer.status === 200 ? answer.json('features') || null : null;
}

function rowOf(columns) {
  const value = ({ type, minimum, maximum }) => minimum + Math.random() * (maximum - minimum + (type === 'integer'));
  const number = (column) => (column.type === 'integer' ? Math.floor(value(column)) : value(column));
  return Object.fromEntries(columns.map((column) => [column.name, number(column)]));
}

function bodyOf(table, items) {
  return table ? { rows: items } : { text: items };
}

// For breakpoint: each step, and which rates held the promise. Otherwise nothing, so that k6's own summary follows;
// but a run that setup ended shows no thresholds that hold because nothing was measured.
export function handleSummary(data) {
  if (!data.metrics.iterations) return { stdout: '' };
  if (PROFILE !== 'breakpoint') return undefined;
  const lines = ['requests/s   p50 ms   p99 ms   5xx or none   refused   not sent   SLO'];
  let verdict = `it was not broken (MAX_RATE=${MAX_RATE})`;
  let heldUpTo = 0;
  for (const rate of breakpointRates()) {
    const [latency, errors, refusals, dropped] = stepMetrics(rate).map((name) => data.metrics[name]);
    if (!latency?.values.max) break;
    const verdicts = [latency, errors, refusals, dropped].flatMap((metric) => Object.values(metric.thresholds));
    const held = verdicts.every((threshold) => threshold.ok);
    const values = [latency.values.med, latency.values['p(99)']].map((value) => value.toFixed(1).padStart(6));
    const shares = [errors, refusals].map((metric) => `${(metric.values.rate * 100).toFixed(2)} %`.padStart(8));
    lines.push([String(rate).padStart(10), ...values, `     ${shares[0]}`, shares[1],
      String(dropped.values.count).padStart(8), held ? 'held' : 'BROKEN'].join('   '));
    if (!held) {
      verdict = `broke at ${rate} requests/s`;
      break;
    }
    heldUpTo = rate;
  }
  lines.push(`the SLO held up to ${heldUpTo} requests/s; ${verdict}`);
  return { stdout: `\n${lines.join('\n')}\n` };
}

function send(warm, table) {
  const texts = Array.from({ length: TEXTS_PER_REQUEST }, () => pick(table ? table.warm : WARM));
  if (!warm) texts[0] = table ? rowOf(table.columns) : coldText();
  const kind = warm ? 'warm' : 'cold';
  const answer = post(bodyOf(table, texts), { tags: { kind, phase: 'predict' } });
  serverErrors.add(answer.status === 0 || answer.status >= 500);
  refused.add(answer.status === 429);
  if (answer.status !== 200) return;
  (warm ? latencyWarm : latencyCold).add(answer.timings.duration);
  textsSent.add(texts.length);
  const [hits, all] = (answer.headers['X-Cache'] || '0/0').split('/').map(Number);
  for (let text = 0; text < all; text += 1) (warm ? cacheHitsWarm : cacheHitsCold).add(text < hits);
  check(answer, {
    'one prediction for each text': () => (answer.body.match(/\[\{"label"|\{"value"/g) || []).length === texts.length,
    'a cold text was not known': () => warm || hits < all,
  });
}

const BAD_BODIES = ['{"text": [', '{"text": []}', '{"text": "no list"}', '{"text": [" "]}', '{"text": [1]}', '[]', ''];

// Rows that lack a column, have one too many, or hold something that is no number.
function badRows({ columns: [first], warm: [row] }) {
  const { [first.name]: _, ...rest } = row;
  const wrong = ['high', null, true].map((value) => ({ ...row, [first.name]: value }));
  const rows = [rest, { ...row, [`${first.name} `]: 1 }, ...wrong].map((bad) => JSON.stringify({ rows: [row, bad] }));
  return [...rows, '{"rows": []}', '{"features": [[]]}', '{"rows": [', '[]', ''];
}

function sendBad(table) {
  const expected = http.expectedStatuses({ min: 400, max: 499 });
  const answer = post(pick(table ? badRows(table) : BAD_BODIES), { tags: { kind: 'bad', phase: 'bad' }, responseCallback: expected });
  check(answer, { 'a bad request is refused with 4xx': () => answer.status >= 400 && answer.status < 500 });
}

function post(body, params) {
  const content = typeof body === 'string' ? body : JSON.stringify(body);
  return http.post(`${BASE_URL}/predict`, content, { headers: HEADERS, timeout: REQUEST_TIMEOUT, ...params });
}

function coldText() {
  sent += 1;
  return `${pick(COLD)} Ticket ${STARTED}${exec.vu.idInTest.toString(36)}x${sent.toString(36)}.`;
}

function pick(values) {
  return values[Math.floor(Math.random() * values.length)];
}

function users(startVUs, stages) {
  return {
    executor: 'ramping-vus', startVUs, gracefulStop: seconds(30), gracefulRampDown: seconds(30),
    stages: stages.map(([duration, target]) => ({ duration: seconds(duration), target })),
  };
}

// A step of breakpoint. Whoever keeps the promise has less than rate x latency limit requests under way: with so few
// virtual users and some to spare, one that falls behind shows as dropped iterations and not as a queue in the client.
// Never more than MAX_UNDER_WAY: idle ones cost k6 memory and CPU time, which the server may need.
function arrivals(rate, index) {
  const vus = Math.min(MAX_UNDER_WAY, Math.ceil((rate * SLO.latency_milliseconds) / 1000) + 20);
  return {
    executor: 'constant-arrival-rate', rate, timeUnit: '1s', preAllocatedVUs: vus, gracefulStop: '2s',
    duration: `${BREAKPOINT_STEP_SECONDS * 1000}ms`, startTime: `${index * BREAKPOINT_STEP_SECONDS * 1000}ms`,
  };
}

function breakpointRates() {
  const rates = [];
  for (let rate = START_RATE; rate <= MAX_RATE; rate *= BREAKPOINT_FACTOR) rates.push(Math.round(rate));
  return rates;
}

function stepName(rate) {
  return `rate_${rate}`;
}

function stepMetrics(rate) {
  const names = ['http_req_duration', 'server_errors', 'refused', 'dropped_iterations'];
  return names.map((name) => `${name}{scenario:${stepName(rate)}}`);
}

function breakpointThresholds() {
  const thresholds = { 'http_req_duration{phase:predict}': ['max>=0'] }; // so that the summary has it
  breakpointRates().forEach((rate, index) => {
    // Judged near the end of a step: the first seconds alone have too few samples.
    const until = Math.round((index + 0.8) * BREAKPOINT_STEP_SECONDS * 1000);
    const dropped = `count<${Math.max(2, Math.ceil(rate * BREAKPOINT_STEP_SECONDS * 0.01))}`;
    stepMetrics(rate).forEach((name, number) => {
      const threshold = [SLOW, BROKEN, 'rate<0.01', dropped][number];
      thresholds[name] = [{ threshold, abortOnFail: true, delayAbortEval: `${until}ms` }];
    });
  });
  return thresholds;
}

function seconds(value) {
  return `${Math.max(1, Math.round(value * 1000 * DURATION_SCALE))}ms`;
}

function variable(name, preset) {
  return __ENV[name] === undefined || __ENV[name] === '' ? preset : __ENV[name];
}

function required(name, pattern, hint) {
  const value = variable(name, '');
  if (!pattern.test(value)) throw new Error(`${name}=${value || '(not set)'}: ${hint}`);
  return value;
}

// With a step of 1, a whole number.
function number(name, preset, low, high, step = 0) {
  const value = Number(variable(name, preset));
  const what = step ? 'a whole number' : 'a number';
  if (!(value >= low && value <= high && !(step && value % step))) {
    throw new Error(`${name}=${__ENV[name]}: ${what} from ${low} to ${high}`);
  }
  return value;
}

function choice(name, values) {
  const value = variable(name, values[0]);
  if (!values.includes(value)) throw new Error(`${name}=${value}: one of ${values.join(', ')}`);
  return value;
}
