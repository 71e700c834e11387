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
    Object.defineProperty(globalThis, "localStorage", { get: () => browser.storage ?? denied(), configurable: true });
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

const denied = () => {
  throw new DOMException("The request was denied.", "SecurityError");
};

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

/**
 * Lets timers run as soon as something waits for them, and tells how long the run would have taken: at least, since the clock
 * also goes on while SubtleCrypto is at work, for however long that takes.
 */
function hurry(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
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
  assert.equal(request.cache, "no-store");
  assert.equal(seen.ended, 1);
  assert.equal(b.storage.kept.size, 0);
});

test("asks nobody where a session exists or no legacy token does", async () => {
  const signedIn = browser([], { session: true });
  const here = await tab(signedIn);
  assert.deepEqual(await here.run(), { status: "current" });
  const signedOut = browser();
  let looks = 0;
  const nobody = await tab(signedOut, { token: "", doesSessionExist: () => ++looks > 2 });
  assert.deepEqual(await nobody.run(), { status: "nothing" }, "who was not signed in waits for no session");
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

test("without Web Locks the key that another tab writes at the same moment is sent", async (t) => {
  hurry(t);
  const b = browser([ok], { locks: undefined });
  const { setItem } = b.storage;
  b.storage.setItem = (k, v) => {
    setItem(k, v);
    setTimeout(() => setItem(k, JSON.stringify({ ...JSON.parse(v), key: "the other tab's" })), 20);
  };
  assert.equal((await (await tab(b)).run()).status, "migrated");
  assert.equal(b.requests[0].headers["Idempotency-Key"], "the other tab's");
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

/** An answer whose headers came, and whose body broke off. */
const cut = (status) => () =>
  new Response(new ReadableStream({ pull: (c) => c.error(new TypeError("network error")) }), { status });

test("an answer that broke off is a lost one", async (t) => {
  hurry(t);
  const b = browser([cut(200), cut(409), ok]);
  const { seen, run } = await tab(b);
  assert.equal((await run()).status, "migrated");
  assert.equal(new Set(b.requests.map((r) => r.headers["Idempotency-Key"])).size, 1);
  assert.deepEqual(seen.signedOut, []);
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

test("a token that was renewed has the key of its session, and another session another", async (t) => {
  hurry(t);
  const sid = (token) => token.split("/")[0];
  const b = browser([lost, lost, lost, ok]);
  for (const token of ["session-1/token-1", "session-1/token-2", "session-2/token-1"]) {
    await (await tab(b, { token, attempts: 1, getLegacySessionId: sid })).run();
  }
  assert.ok(![...b.storage.kept.values()].join().includes("session-"));
  await (await tab(b, { token: "session-2/token-2", getLegacySessionId: async (token) => sid(token) })).run();
  const [one, renewed, other, last] = b.requests.map((r) => r.headers["Idempotency-Key"]);
  assert.equal(renewed, one);
  assert.notEqual(other, one);
  assert.equal(last, other);
  assert.equal(b.requests[1].headers.Authorization, "Bearer session-1/token-2");
});

test("a token of no session goes by itself", async () => {
  for (const none of [undefined, null, ""]) {
    const b = browser([lost, ok]);
    for (const token of [TOKEN, TOKEN + "x"]) await (await tab(b, { token, attempts: 1, getLegacySessionId: () => none })).run();
    const [one, other] = b.requests.map((r) => r.headers["Idempotency-Key"]);
    assert.ok(one && other);
    assert.notEqual(one, other);
  }
});

test("a session's ID that is no string is refused before anything is asked", async () => {
  const b = browser([ok]);
  await assert.rejects((await tab(b, { getLegacySessionId: () => 7 })).run(), /getLegacySessionId must return the ID as a string/);
  await assert.rejects((await tab(b, { getLegacySessionId: "sid" })).run(), /getLegacySessionId must be a function/);
  assert.equal(b.requests.length, 0);
});

test("sends no key that could not be kept", async () => {
  const full = { getItem: () => null, removeItem() {}, setItem() { throw new DOMException("full", "QuotaExceededError"); } };
  const b = browser([ok], { storage: full });
  assert.equal((await (await tab(b)).run()).status, "migrated");
  assert.ok(!("Idempotency-Key" in b.requests[0].headers));
});

test("runs where storage is denied, and where there is no SubtleCrypto", async (t) => {
  const b = browser([ok], { storage: undefined });
  assert.equal((await (await tab(b)).run()).status, "migrated");
  const insecure = browser([ok], { locks: undefined });
  const { run } = await tab(insecure);
  t.mock.getter(crypto, "subtle", () => undefined);
  assert.equal((await run()).status, "migrated");
  for (const { headers } of [b.requests[0], insecure.requests[0]]) assert.ok(!("Idempotency-Key" in headers));
});

test("runs where URL.canParse, AbortSignal.any and AbortSignal.timeout are not known yet", async (t) => {
  for (const [object, name] of [[URL, "canParse"], [AbortSignal, "any"], [AbortSignal, "timeout"]]) {
    const was = object[name];
    object[name] = undefined;
    t.after(() => { object[name] = was; });
  }
  const { run } = await tab(browser([ok]), { signal: new AbortController().signal });
  assert.equal((await run()).status, "migrated");
});

for (const [name, answer, options] of [
  ["somebody else's page", () => new Response("<html>", { status: 404 })],
  ["200 of somebody else", () => new Response("<html>welcome", { status: 200 })],
  ["a defect of the server", refused("INTERNAL_ERROR", 500)],
  ["not admitted", json(204)],
  ["200, and no session", json(200, { status: "OK" })],
  ["another user's session", refused("OTHER_SESSION")],
]) {
  test(`a lost answer is owed still after ${name}`, async (t) => {
    hurry(t);
    const b = browser([lost, answer, ok]);
    await (await tab(b, { attempts: 1 })).run();
    await (await tab(b, options)).run();
    assert.equal((await (await tab(b)).run()).status, "migrated");
    const keys = b.requests.map((r) => r.headers["Idempotency-Key"]);
    assert.equal(keys.length, 3);
    assert.ok(keys[0]);
    assert.equal(new Set(keys).size, 1);
    assert.equal(b.storage.kept.size, 0);
  });
}

test("the key goes when the answer is final", async (t) => {
  hurry(t);
  for (const answer of [refused("INVALID_LEGACY_SESSION", 401), refused("ALREADY_MIGRATED")]) {
    const b = browser([answer]);
    await (await tab(b)).run();
    assert.equal(b.storage.kept.size, 0);
  }
});

for (const status of [429, 502, 503, 504]) {
  test(`${status} is asked again, each time later`, async (t) => {
    t.mock.method(Math, "random", () => 1);
    const clock = hurry(t);
    const b = browser([...Array(3).fill(() => new Response("", { status })), ok]);
    assert.equal((await (await tab(b)).run()).status, "migrated");
    assert.equal(b.requests.length, 4);
    assert.ok(clock.ms >= 500 + 1000 + 2000, `${clock.ms} ms`);
  });
}

for (const [name, value, least, most] of [
  ["a date", () => new Date(Date.now() + 20_000).toUTCString(), 18_000, 22_000],
  ["a date that is over", () => new Date(0).toUTCString(), 0, 2000],
  ["longer than anybody waits", () => "86400", 60_000, 62_000],
  ["nonsense", () => "soon", 0, 2000],
  ["negative", () => "-5", 0, 2000],
]) {
  test(`Retry-After that is ${name}`, async (t) => {
    const clock = hurry(t);
    let answered;
    let waited;
    const b = browser([
      () => {
        answered = clock.ms;
        return json(503, { status: "UNAVAILABLE" }, { "Retry-After": value() })();
      },
      (init, b) => {
        waited = clock.ms - answered;
        return ok(init, b);
      },
    ]);
    assert.equal((await (await tab(b)).run()).status, "migrated");
    assert.ok(waited >= least && waited <= most, `${waited} ms`);
  });
}

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
  assert.deepEqual(await there.run(), { status: "migrated", legacyEnded: true });
  assert.deepEqual(there.seen, { ended: 1, signedOut: [] });
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
  assert.deepEqual(await run(), { status: "migrated", legacyEnded: true });
  assert.deepEqual(seen, { ended: 1, signedOut: [] });
});

// As in Firefox, where a tab may see another one's cookies later than its storage.
for (const [name, want, arrives] of [
  ["its session arrives here later", "current", 5],
  ["there is none", "nothing", Infinity],
]) {
  test(`another tab ends the legacy session, and ${name}`, async (t) => {
    hurry(t);
    let asked = 0;
    let looks = 0;
    const b = browser();
    const { seen, run } = await tab(b, {
      getLegacyToken: () => (++asked === 1 ? TOKEN : null), doesSessionExist: () => ++looks >= arrives,
    });
    assert.deepEqual(await run(), { status: want });
    assert.equal(b.requests.length, 0);
    assert.deepEqual(seen, { ended: 0, signedOut: [] });
  });
}

test("tabs wait for the session of another one at once, not one after the other", async (t) => {
  const b = browser();
  const tabs = await Promise.all([1, 2, 3, 4].map(() => {
    let asked = 0;
    return tab(b, { getLegacyToken: () => (++asked === 1 ? TOKEN : null) });
  }));
  const clock = hurry(t);
  const results = await Promise.all(tabs.map(({ run }) => run()));
  assert.deepEqual(results, Array(4).fill({ status: "nothing" }));
  assert.ok(clock.ms < 6000, `${clock.ms} ms`);
});

test("a tab that is signed in waits for no other, and asks for no legacy token", async (t) => {
  const request = t.mock.fn(locks().request);
  const { run } = await tab(browser([], { session: true, locks: { request } }), { getLegacyToken: () => assert.fail("was asked") });
  assert.deepEqual(await run(), { status: "current" });
  assert.equal(request.mock.callCount(), 0);
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
  ["somebody else's page", () => new Response("<html>", { status: 404 }), { status: "unavailable", code: "" }],
  ["a gateway that lets nobody in", () => new Response("<html>", { status: 401 }), { status: "unavailable", code: "" }],
  ["200 of somebody else", () => new Response("<html>welcome", { status: 200 }), { status: "unavailable", code: "" }],
  ["a code with a token in it", refused(`X${TOKEN}`, 400), { status: "unavailable", code: "" }],
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
  const { run } = await tab(b, { signal: stop.signal, attempts: 1 });
  await assert.rejects(run(), /left the page/);
  assert.equal(b.requests.length, 1);
  assert.equal(b.storage.kept.size, 1); // for the next page load
});

test("the caller's signal ends a pause, too", async (t) => {
  hurry(t);
  const stop = new AbortController();
  const b = browser([() => {
    setTimeout(() => stop.abort(new Error("left the page")), 500);
    return unavailable();
  }]);
  const { run } = await tab(b, { signal: stop.signal });
  await assert.rejects(run(), /left the page/);
  assert.equal(b.requests.length, 1);
});

test("a token that no header can carry is refused, and not sent", async () => {
  for (const token of [`${TOKEN}\n`, `a b`, "ä", `${TOKEN}\r\nX: y`, "x".repeat(16_385)]) {
    const b = browser([]);
    const { seen, run } = await tab(b, { token });
    assert.deepEqual(await run(), { status: "refused", code: "BAD_REQUEST" });
    assert.equal(b.requests.length, 0);
    assert.equal(seen.ended, 0);
  }
});

test("a token that is no string is a mistake of the page", async () => {
  for (const token of [{ access_token: TOKEN }, 7, [TOKEN]]) {
    const b = browser([]);
    const { run } = await tab(b, { token });
    await assert.rejects(run(), (e) => e instanceof TypeError && /getLegacyToken/.test(e.message) && !e.message.includes(TOKEN));
    assert.equal(b.requests.length, 0);
  }
});

test("what a callback throws is the caller's, and it may be called again", async (t) => {
  hurry(t);
  const fails = () => Promise.reject(new Error("the page's own"));
  for (const [options, answers] of [
    [{ getLegacyToken: fails }, []], [{ doesSessionExist: fails }, []], [{ onSignedOut: fails }, Array(2).fill(refused("OTHER_SESSION"))],
  ]) {
    const { seen, run } = await tab(browser(answers), options);
    for (let i = 0; i < 2; i++) await assert.rejects(run(), /the page's own/);
    assert.equal(seen.ended, 0);
  }
});

test("an end of the legacy session that never comes keeps nobody waiting", async (t) => {
  hurry(t);
  const { run } = await tab(browser([ok]), { endLegacySession: () => new Promise(() => {}) });
  assert.deepEqual(await run(), { status: "migrated", legacyEnded: false });
});

test("locks that are refused do not stop it", async (t) => {
  hurry(t);
  for (const request of [denied, async () => denied()]) {
    const b = browser([ok], { locks: { request } });
    assert.equal((await (await tab(b)).run()).status, "migrated");
    assert.ok(b.requests[0].headers["Idempotency-Key"]);
  }
});

test("a lock that is stolen does not hide what became of the run", async (t) => {
  const stolen = new DOMException("The lock was stolen.", "AbortError");
  const request = (name, options, run) => {
    void run();
    return Promise.reject(stolen);
  };
  const b = browser([ok], { locks: { request } });
  const { seen, run } = await tab(b);
  assert.deepEqual(await run(), { status: "migrated", legacyEnded: true });
  assert.equal(b.requests.length, 1);
  assert.equal(seen.ended, 1);
});

/** A lock that another tab holds for good. */
const held = {
  request: (name, { signal }) => new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason));
  }),
};

test("a tab that hangs with the lock stops no other for longer than one answer may take", async (t) => {
  const clock = hurry(t);
  const b = browser([ok], { locks: held });
  assert.equal((await (await tab(b)).run()).status, "migrated");
  assert.ok(clock.ms >= 30_000, `${clock.ms} ms`);
});

test("the caller's signal ends the wait for the lock, too", async () => {
  const stop = new AbortController();
  const b = browser([], { locks: held });
  const { run } = await tab(b, { signal: stop.signal });
  const running = run();
  stop.abort(new Error("left the page"));
  await assert.rejects(running, /left the page/);
  assert.equal(b.requests.length, 0);
});

test("the caller's signal ends it before anything is asked, too", async () => {
  for (const locked of [locks(), undefined]) {
    const stop = new AbortController();
    const b = browser([ok], { locks: locked });
    let calls = 0;
    const getLegacyToken = () => {
      if (++calls === 2) stop.abort(new Error("left the page"));
      return TOKEN;
    };
    const { run, seen } = await tab(b, { signal: stop.signal, getLegacyToken });
    await assert.rejects(run(), /left the page/);
    assert.equal(b.requests.length, 0);
    assert.equal(seen.ended, 0);
  }
});

test("the caller's signal ends it while the answer comes in, too", async () => {
  const stop = new AbortController();
  const b = browser([() => { stop.abort(new Error("left the page")); return cut(200)(); }]);
  const { run } = await tab(b, { signal: stop.signal });
  await assert.rejects(run(), /left the page/);
  assert.equal(b.storage.kept.size, 1);
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
    [{ timeoutMs: Infinity }, /timeoutMs/],
  ]) {
    const b = browser();
    const { run } = await tab(b, wrong);
    await assert.rejects(run(), (e) => e instanceof TypeError && text.test(e.message) && !e.message.includes(TOKEN));
    assert.equal(b.requests.length, 0);
  }
});
