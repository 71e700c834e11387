// What a page needs to move its legacy session to SuperTokens. See README.md, and index.d.ts for what each option means.

const STORE = "stmigrate.exchange";
const FINAL = new Set(["migrated", "current", "signed-out"]);
const RETRIED = new Set([429, 502, 503, 504]);

/** One run a page and endpoint: its promise while it runs, and for good once there is nothing left to try. */
const runs = new Map();

export async function migrateSession(options) {
  const config = check(options);
  let run = runs.get(config.url);
  if (!run) {
    run = start(config);
    runs.set(config.url, run);
    // What found nothing may be tried again, by a later call of the same page.
    const again = () => runs.delete(config.url);
    run.then((result) => FINAL.has(result.status) || again(), again);
  }
  return run;
}

function check(options) {
  const {
    apiDomain, path = "/migrate-session", getLegacyToken, getLegacySessionId = () => "", endLegacySession, doesSessionExist, onSignedOut,
    attempts = 6, timeoutMs = 30_000, signal,
  } = options ?? {};
  for (const [name, f] of Object.entries({
    getLegacyToken, getLegacySessionId, endLegacySession, doesSessionExist, onSignedOut,
  })) {
    if (typeof f !== "function") throw new TypeError(`migrateSession: ${name} must be a function`);
  }
  if (!(Number.isInteger(attempts) && attempts >= 1 && attempts <= 100)) {
    throw new TypeError("migrateSession: attempts must be a whole number from 1 to 100");
  }
  // A timer of more fires at once.
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) throw new TypeError("migrateSession: timeoutMs must be above 0 and below 2^31");
  const base = parse(apiDomain);
  if (!base || !/^https?:$/.test(base.protocol) || base.origin !== String(apiDomain).replace(/\/$/, "")) {
    throw new TypeError("migrateSession: apiDomain must be the API's origin, such as https://api.example.com");
  }
  const url = new URL(path, base);
  if (url.origin !== base.origin) throw new TypeError("migrateSession: path must be a path on apiDomain");
  return {
    url: url.href, getLegacyToken, getLegacySessionId, endLegacySession, doesSessionExist, onSignedOut, attempts, timeoutMs, signal,
  };
}

function parse(url) {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}

/** Who is signed in waits for no other tab, and asks for no legacy token. */
async function start(config) {
  if (await config.doesSessionExist()) return { status: "current" };
  const had = await config.getLegacyToken();
  const result = await exclusively(config, (alone) => migrate(config, alone));
  // If another tab ended the legacy session meanwhile, the new one may be seen here later than that: Firefox's cookies are slow.
  // All tabs wait for it at once, and none holds the lock.
  if (result.status === "nothing" && had && (await sessionArrived(config))) return { status: "current" };
  return result;
}

/**
 * Lets one tab at a time through, so that the second finds the first one's session. Web Locks are there in secure contexts
 * only; without them both ask, and the server gives both the same session. That is as good where they are refused, or where
 * the tab that holds the lock hangs. Tells run whether it is alone.
 */
async function exclusively({ url, timeoutMs, signal }, run) {
  signal?.throwIfAborted();
  const locks = globalThis.navigator?.locks;
  if (!locks) return run(false);
  const wait = within(timeoutMs, signal);
  let running;
  try {
    return await locks.request(`stmigrate ${url}`, { signal: wait.signal }, () => (running = run(true)));
  } catch {
    // A lock that is stolen stops nothing.
    if (running) return running;
    signal?.throwIfAborted();
    return run(false);
  } finally {
    wait.end();
  }
}

async function migrate(config, alone) {
  if (await config.doesSessionExist()) return { status: "current" };
  const token = await config.getLegacyToken();
  if (!token) return { status: "nothing" };
  if (typeof token !== "string") throw new TypeError("migrateSession: getLegacyToken must return the token as a string, or nothing");
  // What no header can carry, or servers take, would be refused.
  if (!/^[\x21-\x7e]+$/.test(token) || token.length > 16_384) return { status: "refused", code: "BAD_REQUEST" };
  const session = (await config.getLegacySessionId(token)) || token;
  if (typeof session !== "string") throw new TypeError("migrateSession: getLegacySessionId must return the ID as a string, or nothing");
  const key = await idempotencyKey(session, alone);
  // Another tab may have been done meanwhile.
  if (!alone && (await config.doesSessionExist())) return { status: "current" };
  for (let attempt = 1; ; attempt++) {
    config.signal?.throwIfAborted();
    const answer = await ask(config, token, key);
    if (!answer.retry) return conclude(config, answer);
    if (attempt >= config.attempts) return { status: "unavailable", code: answer.code };
    await pause(backOff(attempt, answer.retryAfter), config.signal);
  }
}

/** Asks once. Whatever leaves open what the server did is to be asked again. */
async function ask({ url, timeoutMs, signal }, token, key) {
  const limit = within(timeoutMs, signal);
  const headers = { Authorization: `Bearer ${token}` };
  if (key) headers["Idempotency-Key"] = key;
  try {
    // fetch is looked up now: SuperTokens' frontend SDKs replace it, and they take the new session from the answer.
    const response = await globalThis.fetch(url, {
      method: "POST", headers, credentials: "include", cache: "no-store", redirect: "error", signal: limit.signal,
    });
    return {
      http: response.status,
      code: await statusOf(response),
      retry: RETRIED.has(response.status),
      retryAfter: seconds(response.headers.get("Retry-After")),
    };
  } catch {
    signal?.throwIfAborted();
    return { code: "NETWORK_ERROR", retry: true };
  } finally {
    limit.end();
  }
}

/** The body's status, as the server's table of errors has it; "" where the answer is somebody else's. A body that breaks off throws. */
async function statusOf(response) {
  const body = await response.text();
  try {
    const { status } = JSON.parse(body);
    return typeof status === "string" && /^[A-Z_]{1,40}$/.test(status) ? status : "";
  } catch {
    return "";
  }
}

/** The key goes once the exchange is over for good. Whatever else was answered, a lost answer is owed still. */
async function conclude(config, { http, code }) {
  switch (true) {
    case http === 200 && code === "OK":
      if (!(await sessionArrived(config))) return { status: "unavailable", code: "SESSION_DID_NOT_ARRIVE" };
      forgetKey();
      return { status: "migrated", legacyEnded: await endLegacy(config) };
    case http === 204:
      return { status: "not-admitted" };
    case code === "ALREADY_MIGRATED":
      forgetKey();
      if (await sessionArrived(config)) return { status: "migrated", legacyEnded: await endLegacy(config) };
      break;
    case code === "OTHER_SESSION":
      break;
    case http >= 500 || code === "":
      // A proxy's page, or a release's without the exchange, says nothing about the session.
      return { status: "unavailable", code };
    default:
      forgetKey();
      return { status: "refused", code };
  }
  await config.onSignedOut(code);
  return { status: "signed-out", code };
}

/** The session of another tab may be on its way to this one still. */
async function sessionArrived({ doesSessionExist, signal }) {
  for (let look = 1; ; look++) {
    if (await doesSessionExist()) return true;
    if (look === 5) return false;
    await pause(100 * 2 ** look, signal);
  }
}

/** The new session stands whatever becomes of this. */
async function endLegacy({ endLegacySession, timeoutMs }) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(reject, timeoutMs);
  });
  try {
    await Promise.race([endLegacySession(), late]);
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The key of the exchange of this session, or of this very token: the same after a reload until an answer came, so that the lost
 * answer is given again; another for another login. Nothing is sent where it could not be kept or named, since a reload would then
 * come with another key, and be refused what it is owed.
 */
async function idempotencyKey(session, alone) {
  try {
    // Throws where there is no SubtleCrypto, in an insecure context.
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(session));
    const hash = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const kept = keptKey(hash);
    if (kept) return kept;
    const key = crypto.randomUUID();
    localStorage.setItem(STORE, JSON.stringify({ hash, key }));
    // Another tab may write at the same moment: the later one wins, for both.
    if (alone) return key;
    await pause(50);
    return keptKey(hash) ?? key;
  } catch {
    return undefined;
  }
}

function keptKey(hash) {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    return kept.hash === hash && typeof kept.key === "string" ? kept.key : undefined;
  } catch {
    return undefined;
  }
}

function forgetKey() {
  try {
    localStorage.removeItem(STORE);
  } catch {
    // It was not kept either.
  }
}

/** Retry-After, which is a number of seconds or a date (RFC 9110 §10.2.3). */
function seconds(retryAfter) {
  const number = Number(retryAfter);
  return Number.isNaN(number) ? (Date.parse(retryAfter) - Date.now()) / 1000 : number;
}

/** Seconds that the server asked for, at most a minute, and else twice as long each time; never in step with other tabs. */
function backOff(attempt, retryAfter) {
  const ms = retryAfter > 0 ? Math.min(retryAfter, 60) * 1000 : 0;
  return ms + Math.random() * Math.min(500 * 2 ** (attempt - 1), 15_000);
}

/** A signal that is aborted after a while, and with the other one. AbortSignal.any and timeout are younger than many browsers. */
function within(ms, signal) {
  const controller = new AbortController();
  const stop = () => controller.abort(signal.reason);
  const timer = setTimeout(() => controller.abort(), ms);
  signal?.addEventListener("abort", stop, { once: true });
  const end = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  };
  return { signal: controller.signal, end };
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
