import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl";

/** One browser tab: a fresh copy of the module on the browser's storage, locks and answers, which the test gives. */
let copies = 0;
async function tab(browser, { token = TOKEN, ...options } = {}) {
  const { migrateSession } = await import(`../index.js?tab=${++copies}`);
  const seen = { ended: 0, signedOut: [] };
  const run = () => {
    Object.defineProperty(globalThis, "navigator", { value: { locks: browser.locks }, configurable: true });
    globalThis.localStorage = browser.storage;
    globalThis.fetch = async (url, init) => {
      browser.requests.push({ url, ...init });
      const answer = browser.answers.shift();
      if (!answer) throw new Error("the test has no further answer");
      return answer(init, browser);
    };
    return migrateSession({
      apiDomain: "https://api.example.com",
      getLegacyToken: () => token,
      endLegacySession: () => void seen.ended++,
      doesSessionExist: () => browser.session,
      onSignedOut: (code) => void seen.signedOut.push(code),
      ...options,
    });
  };
  return { seen, run };
}

function storage() {
  const kept = new Map();
  return {
    kept,
    getItem: (k) => kept.get(k) ?? null,
    setItem: (k, v) => void kept.set(k, String(v)),
    removeItem: (k) => void kept.delete(k),
  };
}

/** Web Locks as far as one lock goes: one holder at a time, in order. */
function locks() {
  let last = Promise.resolve();
  return {
    request(name, { signal }, run) {
      const mine = last.then(() => {
        signal?.throwIfAborted();
        return run();
      });
      last = mine.catch(() => {});
      return mine;
    },
  };
}

function browser(answers = [], parts = {}) {
  return { answers, requests: [], session: false, storage: storage(), locks: locks(), ...parts };
}

const json = (http, body, headers) => () =>
  new Response(http === 204 ? null : JSON.stringify(body), { status: http, headers });
const ok = (init, b) => {
  b.session = true;
  return json(200, { status: "OK" })();
};
const lost = () => {
  throw new TypeError("Failed to fetch");
};
const refused = (code, http = 409) => json(http, { status: code });
const unavailable = json(503, { status: "UNAVAILABLE" }, { "Retry-After": "1" });

/** Lets timers run as soon as something waits for them, and tells how long the run would have taken. */
function hurry(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const clock = { ms: 0 };
  const step = setInterval(() => {
    clock.ms += 50;
    t.mock.timers.tick(50);
  }, 0);
  t.after(() => clearInterval(step));
  return clock;
}

beforeEach((t) => {
  for (const method of ["log", "info", "warn", "error", "debug"]) {
    t.mock.method(console, method, () => assert.fail("the module must not write to the console"));
  }
});

test("sends the bearer and a key, and ends the legacy session once the new one is there", async () => {
  const b = browser([ok]);
  const { seen, run } = await tab(b);
  assert.deepEqual(await run(), { status: "migrated", legacyEnded: true });
  const [request] = b.requests;
  assert.equal(request.url, "https://api.example.com/migrate-session");
  assert.equal(request.method, "POST");
  assert.equal(request.headers.Authorization, `Bearer ${TOKEN}`);
  assert.match(request.headers["Idempotency-Key"], /^[0-9a-f-]{36}$/);
  assert.equal(request.credentials, "include");
  assert.equal(request.redirect, "error");
  assert.equal(seen.ended, 1);
  assert.equal(b.storage.kept.size, 0);
});

test("asks nobody where a session exists or no legacy token does", async () => {
  const signedIn = browser([], { session: true });
  const here = await tab(signedIn);
  assert.deepEqual(await here.run(), { status: "current" });
  const signedOut = browser();
  const nobody = await tab(signedOut, { token: "" });
  assert.deepEqual(await nobody.run(), { status: "nothing" });
  assert.equal(signedIn.requests.length + signedOut.requests.length, 0);
  assert.equal(here.seen.ended + nobody.seen.ended, 0);
});

test("runs once a page", async () => {
  const b = browser([ok]);
  const { run } = await tab(b);
  const [first, second] = await Promise.all([run(), run()]);
  assert.equal(first, second);
  assert.equal(await run(), first);
  assert.equal(b.requests.length, 1);
});

test("may be called again where nothing was found the first time", async () => {
  let token = null;
  const b = browser([ok]);
  const { run } = await tab(b, { getLegacyToken: () => token });
  assert.equal((await run()).status, "nothing");
  token = TOKEN;
  assert.equal((await run()).status, "migrated");
  assert.equal(b.requests.length, 1);
});

test("two tabs: the second waits and finds the first one's session", async () => {
  const b = browser([ok]);
  const one = await tab(b);
  const two = await tab(b);
  const [a, c] = await Promise.all([one.run(), two.run()]);
  assert.deepEqual([a.status, c.status], ["migrated", "current"]);
  assert.equal(b.requests.length, 1);
});

test("two tabs without Web Locks send one key", async (t) => {
  hurry(t);
  const both = {};
  both.promise = new Promise((resolve) => { both.resolve = resolve; });
  // The first is not answered before the second has asked.
  const first = async (init, b) => {
    await both.promise;
    return ok(init, b);
  };
  const second = (init, b) => {
    both.resolve();
    return ok(init, b);
  };
  const b = browser([first, second], { locks: undefined });
  const results = await Promise.all([(await tab(b)).run(), (await tab(b)).run()]);
  const keys = b.requests.map((r) => r.headers["Idempotency-Key"]);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.ok(keys[0]);
  for (const { status } of results) assert.equal(status, "migrated");
});

test("without Web Locks a tab that comes while another is done asks nobody", async (t) => {
  hurry(t);
  const b = browser([ok], { locks: undefined });
  const one = await tab(b);
  const two = await tab(b);
  const [first, second] = await Promise.all([one.run(), new Promise((resolve) => setTimeout(resolve, 10)).then(two.run)]);
  assert.deepEqual([first.status, second.status].sort(), ["current", "migrated"]);
  assert.equal(b.requests.length, 1);
});

test("a lost answer is asked for again with the same key, and after a reload, too", async (t) => {
  hurry(t);
  const b = browser([lost, unavailable, lost, ok]);
  const one = await tab(b, { attempts: 3 });
  assert.deepEqual(await one.run(), { status: "unavailable", code: "NETWORK_ERROR" });
  assert.equal(one.seen.ended, 0);
  const reloaded = await tab(b);
  assert.equal((await reloaded.run()).status, "migrated");
  const keys = b.requests.map((r) => r.headers["Idempotency-Key"]);
  assert.equal(keys.length, 4);
  assert.equal(new Set(keys).size, 1);
});

test("another legacy login has another key, and the storage never holds the token", async () => {
  const b = browser([lost, ok]);
  await (await tab(b, { attempts: 1 })).run();
  const kept = [...b.storage.kept.values()].join();
  assert.ok(kept.length > 64);
  for (const part of TOKEN.split(".")) assert.ok(!kept.includes(part));
  await (await tab(b, { token: TOKEN + "x" })).run();
  const [one, other] = b.requests.map((r) => r.headers["Idempotency-Key"]);
  assert.ok(one && other);
  assert.notEqual(one, other);
});

test("sends no key that could not be kept", async () => {
  const full = { getItem: () => null, removeItem() {}, setItem() { throw new DOMException("full", "QuotaExceededError"); } };
  const b = browser([ok], { storage: full });
  assert.equal((await (await tab(b)).run()).status, "migrated");
  assert.ok(!("Idempotency-Key" in b.requests[0].headers));
});

test("waits for as long as Retry-After says, and gives up after its attempts", async (t) => {
  const clock = hurry(t);
  const b = browser(Array(4).fill(unavailable));
  const { seen, run } = await tab(b, { attempts: 4 });
  assert.deepEqual(await run(), { status: "unavailable", code: "UNAVAILABLE" });
  assert.equal(b.requests.length, 4);
  assert.ok(clock.ms >= 3000, `${clock.ms} ms`);
  assert.equal(seen.ended, 0);
});

test("ALREADY_MIGRATED is done only where a session exists", async (t) => {
  hurry(t);
  const elsewhere = browser([(init, b) => { b.session = true; return refused("ALREADY_MIGRATED")(); }]);
  const there = await tab(elsewhere);
  assert.deepEqual(await there.run(), { status: "current" });
  assert.deepEqual(there.seen.signedOut, []);
  const b = browser([refused("ALREADY_MIGRATED")]);
  const { seen, run } = await tab(b);
  assert.deepEqual(await run(), { status: "signed-out", code: "ALREADY_MIGRATED" });
  assert.deepEqual(seen.signedOut, ["ALREADY_MIGRATED"]);
  assert.equal(seen.ended, 0);
  assert.equal((await run()).status, "signed-out");
  assert.equal(b.requests.length, 1);
});

test("the session of another tab that is late still counts", async (t) => {
  hurry(t);
  let looks = 0;
  const { seen, run } = await tab(browser([refused("ALREADY_MIGRATED")]), { doesSessionExist: () => ++looks > 4 });
  assert.deepEqual(await run(), { status: "current" });
  assert.deepEqual(seen.signedOut, []);
});

test("another user's session is told", async () => {
  const { seen, run } = await tab(browser([refused("OTHER_SESSION")]));
  assert.deepEqual(await run(), { status: "signed-out", code: "OTHER_SESSION" });
  assert.deepEqual(seen.signedOut, ["OTHER_SESSION"]);
});

for (const [name, answer, want] of [
  ["not admitted", json(204), { status: "not-admitted" }],
  ["a legacy token worth nothing", refused("INVALID_LEGACY_SESSION", 401), { status: "refused", code: "INVALID_LEGACY_SESSION" }],
  ["an unknown user", refused("UNKNOWN_USER", 403), { status: "refused", code: "UNKNOWN_USER" }],
  ["a defect of the server", refused("INTERNAL_ERROR", 500), { status: "unavailable", code: "INTERNAL_ERROR" }],
  ["somebody else's page", () => new Response("<html>", { status: 404 }), { status: "refused", code: "" }],
  ["200 of somebody else", () => new Response("<html>welcome", { status: 200 }), { status: "refused", code: "" }],
  ["a code with a token in it", refused(`X${TOKEN}`, 400), { status: "refused", code: "" }],
]) {
  test(`${name}: nothing is ended and nobody signed out`, async () => {
    const b = browser([answer]);
    const { seen, run } = await tab(b);
    assert.deepEqual(await run(), want);
    assert.equal(seen.ended, 0);
    assert.deepEqual(seen.signedOut, []);
    assert.equal(b.requests.length, 1);
  });
}

test("200 without a session leaves the legacy one alone", async (t) => {
  hurry(t);
  const { seen, run } = await tab(browser([json(200, { status: "OK" })]));
  assert.deepEqual(await run(), { status: "unavailable", code: "SESSION_DID_NOT_ARRIVE" });
  assert.equal(seen.ended, 0);
});

test("what fails while the legacy session is ended does not undo the migration", async () => {
  const { run } = await tab(browser([ok]), { endLegacySession: () => Promise.reject(new Error(TOKEN)) });
  assert.deepEqual(await run(), { status: "migrated", legacyEnded: false });
});

test("an answer that never comes is a lost one", async (t) => {
  const alive = setInterval(() => {}, 1000); // node lets a timeout's signal keep nothing alive
  t.after(() => clearInterval(alive));
  const never = ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const b = browser([never, ok]);
  const { run } = await tab(b, { timeoutMs: 5 });
  assert.equal((await run()).status, "migrated");
  assert.equal(b.requests.length, 2);
});

test("the caller's signal ends it with its reason", async () => {
  const stop = new AbortController();
  const b = browser([() => { stop.abort(new Error("left the page")); return lost(); }]);
  const { run } = await tab(b, { signal: stop.signal });
  await assert.rejects(run(), /left the page/);
  assert.equal(b.requests.length, 1);
  assert.equal(b.storage.kept.size, 1); // for the next page load
});

test("wrong options are refused before anything is asked", async () => {
  for (const [wrong, text] of [
    [{ apiDomain: "api.example.com" }, /apiDomain/],
    [{ apiDomain: "https://api.example.com/base" }, /apiDomain/],
    [{ apiDomain: "javascript:alert(1)" }, /apiDomain/],
    [{ path: "https://evil.example/" }, /path/],
    [{ path: "//evil.example/" }, /path/],
    [{ getLegacyToken: TOKEN }, /getLegacyToken/],
    [{ onSignedOut: undefined }, /onSignedOut/],
    [{ attempts: 0 }, /attempts/],
    [{ timeoutMs: 0 }, /timeoutMs/],
  ]) {
    const b = browser();
    const { run } = await tab(b, wrong);
    await assert.rejects(run(), (e) => e instanceof TypeError && text.test(e.message) && !e.message.includes(TOKEN));
    assert.equal(b.requests.length, 0);
  }
});
