// A browser, a world for each test, and what is kept of a test that failed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";

const here = import.meta.dirname;
const artifacts = process.env.E2E_ARTIFACTS ?? path.join(here, "artifacts");
/** After this something hangs: no machine is so slow. */
const TIMEOUT = 120_000;

export const USER = "legacy|ada";
export const EXCHANGE = "POST /migrate-session";

const LAUNCH = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  timeout: TIMEOUT,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--ignore-certificate-errors",
    // The hosts of the tests are here; there are no others.
    "--host-resolver-rules=MAP *.test 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
  ],
};

// Playwright leaves an empty directory behind for each trace, unless it is told where.
const tracesDir = mkdtempSync(path.join(tmpdir(), "e2e-traces-"));
let browser;
after(async () => {
  if (browser) await inTime("closing the browser", browser.close());
  rmSync(tracesDir, { recursive: true, force: true });
});

/** The browser of a test file's tests; another one if it died, which is the failure of one test and not of all that follow. */
async function launched() {
  if (!browser?.isConnected()) browser = await chromium.launch({ ...LAUNCH, tracesDir });
  return browser;
}

/** The tokens' cookies at the API, by their attributes. */
export async function apiCookies(w) {
  const cookies = await w.context.cookies(`${w.api}/auth/session/refresh`);
  return cookies.map((c) => [c.name, c.sameSite, c.secure, c.httpOnly]).sort();
}

/** A test in each of the modes in which session tokens travel. */
export function scenario(name, run, { modes = ["cookie", "header"], trace = true, ...world } = {}) {
  for (const mode of modes) {
    test(`${name} [${mode}]`, async () => {
      const w = new World();
      try {
        await inTime("the start", w.start({ mode, trace, ...world }), 2 * TIMEOUT);
        await inTime("the test", run(w), 3 * TIMEOUT);
        await w.assertNoLeak();
      } catch (error) {
        await inTime("keeping what is left", w.keep(`${name} ${mode}`, error)).catch(console.error);
        throw error;
      } finally {
        await w.close();
      }
    });
  }
}

/** What promise brings, or an error when it takes too long. */
async function inTime(what, promise, ms = TIMEOUT) {
  const over = new AbortController();
  const late = pause(ms, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${what} took longer than ${ms / 1000} s`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    late.catch(() => {});
    over.abort();
  }
}

/** Waits for a condition, which is looked at again and again. What it returns is returned, once it is truthy. */
export async function until(what, condition) {
  const deadline = Date.now() + TIMEOUT;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await pause(15);
  }
}

class World {
  /** Whatever the browser let be seen: console messages and page errors, and URLs. */
  console = [];
  reading = [];
  urls = [];
  inFlight = new Set();
  /** States that a document showed, in order, however shortly. */
  shown = [];
  legacyTokens = [];
  log = [];

  async start({ mode, trace, www, api, insecure = false, locks = true, thirdPartyCookies = false, example = false }) {
    const w = this;
    w.mode = mode;
    const args = example ? ["-addr", "127.0.0.1:0"] : ["-page", path.join(here, "build/page")];
    if (www) args.push("-www", www);
    if (api) args.push("-api", api);
    if (insecure) args.push("-insecure");
    w.server = spawn(path.join(here, example ? "build/webapp" : "build/server"), args, { stdio: ["pipe", "pipe", "pipe"] });
    createInterface(w.server.stderr).on("line", (line) => w.log.push(line));
    const died = once(w.server, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${w.log.join("\n")}`);
    });
    const [line] = await inTime("the server's start", Promise.race([once(createInterface(w.server.stdout), "line"), died]));
    Object.assign(w, example ? { www: line.match(/http:\S+/)[0] } : JSON.parse(line));

    const viewport = { width: 400, height: 300 };
    if (thirdPartyCookies) {
      // Debian's Chromium blocks them, and so does any incognito context: it takes a profile that says otherwise.
      w.profile = mkdtempSync(path.join(tmpdir(), "e2e-profile-"));
      mkdirSync(path.join(w.profile, "Default"));
      writeFileSync(path.join(w.profile, "Default/Preferences"), JSON.stringify({ profile: { cookie_controls_mode: 0 } }));
      w.context = await chromium.launchPersistentContext(w.profile, { ...LAUNCH, tracesDir, viewport });
    } else {
      w.context = await (await launched()).newContext({ viewport });
    }
    w.context.setDefaultTimeout(TIMEOUT);
    if (trace) await w.context.tracing.start({ screenshots: true, snapshots: true });
    w.tracing = trace;
    w.context.on("console", (m) => {
      w.console.push(m.text());
      const read = (value) => void w.console.push(JSON.stringify(value) ?? "");
      for (const arg of m.args()) w.reading.push(arg.jsonValue().then(read, () => {}));
    });
    w.context.on("weberror", (e) => w.console.push(String(e.error().stack)));
    w.context.on("request", (r) => {
      w.urls.push(r.url());
      w.inFlight.add(r);
    });
    // The SDK leaves bodies unread, which the browser never reports as finished: a request that is answered is over.
    w.context.on("response", (r) => void w.inFlight.delete(r.request()));
    w.context.on("requestfailed", (r) => void w.inFlight.delete(r));
    await w.context.exposeBinding("__shown", (_, state) => void w.shown.push(state));
    await w.context.addInitScript(watch);
    if (!locks) await w.context.addInitScript(() => Object.defineProperty(Navigator.prototype, "locks", { value: undefined }));
  }

  url(query = {}) {
    const search = new URLSearchParams({ auth: this.mode, ...query });
    return `${this.www}/?${search}`;
  }

  /** Signs in at the legacy provider, as the website did before, and leaves the token where it did. */
  async signInAtLegacy() {
    const page = await this.context.newPage();
    await page.goto(`${this.www}/style.css`);
    const [token, refreshToken] = await page.evaluate(async () => {
      const body = new URLSearchParams({
        grant_type: "password", username: "ada@example.com", password: "correct horse battery staple",
      });
      const response = await fetch("/legacy/token", { method: "POST", body });
      const { access_token, refresh_token } = await response.json();
      localStorage.setItem("legacy.token", access_token);
      return [access_token, refresh_token];
    });
    assert.match(token, /^ey/);
    this.legacyTokens.push(token);
    this.legacyRefreshToken = refreshToken;
    await page.close();
  }

  /** Renews the legacy token, as the provider's SDK does: another one of the same session, which is returned and left nowhere. */
  async renewAtLegacy() {
    const page = await this.context.newPage();
    await page.goto(`${this.www}/style.css`);
    const token = await page.evaluate(async (refresh_token) => {
      const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token });
      const response = await fetch("/legacy/token", { method: "POST", body });
      return (await response.json()).access_token;
    }, this.legacyRefreshToken);
    assert.match(token, /^ey/);
    this.legacyTokens.push(token);
    await page.close();
    return token;
  }

  /** Opens a tab and waits, unless told otherwise, for what became of its migration. */
  async open(query, { wait = true } = {}) {
    const page = await this.context.newPage();
    await page.goto(this.url(query));
    if (!wait) return { page };
    return { page, result: await settled(page) };
  }

  async state() {
    if (!this.control) return { requests: [] }; // the example has no such door
    const response = await fetch(`${this.control}/state`);
    const state = await response.json();
    state.of = (route, server = "api") =>
      (state.requests ?? []).filter((r) => r.server === server && `${r.method} ${r.path}` === route);
    return state;
  }

  /** advance, hold, release, fault, heal: see server/control.go. */
  async tell(command, body = {}) {
    const response = await fetch(`${this.control}/${command}`, { method: "POST", body: JSON.stringify(body) });
    assert.equal(response.status, 200, await response.text());
  }

  /** The cookies in which the browser holds session tokens: the API's in cookie mode, the website's in header mode. */
  async sessionCookies() {
    const names = ["sAccessToken", "sRefreshToken", "st-access-token", "st-refresh-token"];
    return (await this.context.cookies()).filter((c) => names.includes(c.name) && c.value);
  }

  /** No test may let a token of either kind into the console, into a URL or into the server's log. */
  async assertNoLeak() {
    const { requests } = await this.state();
    await Promise.all(this.reading);
    const texts = [...this.console, ...this.urls, ...this.log];
    for (const secret of [...this.legacyTokens, ...requests.flatMap(tokensIn)]) {
      // A JWT is known by its signature, and by its payload, too.
      for (const part of secret.split(".").filter((p) => p.length > 40)) {
        const seen = texts.filter((text) => text.includes(part) || text.includes(encodeURIComponent(part)));
        assert.deepEqual(seen, [], "a token is in the console, in a URL or in a log");
      }
    }
  }

  async keep(name, error) {
    const dir = path.join(artifacts, name.replace(/[^\w]+/g, "-"));
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    let n = 0;
    for (const page of this.context?.pages() ?? []) await page.screenshot({ path: path.join(dir, `page-${++n}.png`) }).catch(() => {});
    if (this.tracing) await this.context.tracing.stop({ path: path.join(dir, "trace.zip") }).catch(() => {});
    const state = await this.state().catch(String);
    writeFileSync(path.join(dir, "server.log"), `${this.log.join("\n")}\n\n${JSON.stringify(state, null, 2)}\n`);
    const said = [error?.stack, `shown: ${this.shown}`, "console:", ...this.console];
    writeFileSync(path.join(dir, "error.txt"), `${said.join("\n\n")}\n`);
    console.error(`kept in ${dir}`);
  }

  /** Leaves no process and no file behind, whatever died: what hangs here would keep the test runner from ending. */
  async close() {
    try {
      if (this.context) await inTime("closing the browser's context", this.context.close());
    } finally {
      if (this.profile) rmSync(this.profile, { recursive: true, force: true });
      const { server } = this;
      if (server.exitCode === null && server.signalCode === null) {
        const gone = once(server, "exit");
        server.stdin.end();
        if (!this.control) server.kill();
        await inTime("the server's end", gone).catch(() => server.kill("SIGKILL"));
      }
    }
  }
}

/** The session tokens that the server gave in an answer. */
function tokensIn({ response = {} }) {
  const cookies = (response["set-cookie"] ?? "").split("\n").map((c) => c.match(/^s(?:Access|Refresh)Token=([^;]*)/)?.[1]);
  return [...cookies, response["st-access-token"], response["st-refresh-token"]].filter(Boolean).map(decodeURIComponent);
}

/** Runs in the browser, before any script of the page: tells every state that the document takes, and what waits there. */
function watch() {
  const root = () => document.documentElement;
  let last;
  const look = (state) => {
    if (state && state !== last) window.__shown((last = state));
  };
  new MutationObserver((changes) => {
    for (const c of changes) if (c.attributeName === "data-state" && c.oldValue) look(c.oldValue);
    if (/signed out/i.test(document.querySelector("#who, #badge")?.textContent ?? "")) look("signed-out");
    look((document.querySelector("#app") ?? root())?.dataset.state);
  }).observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeOldValue: true,
  });

  const timers = new Set();
  window.__pending = () => timers.size;
  const { setTimeout: set, clearTimeout: clear, setInterval: setI, clearInterval: clearI } = window;
  window.setTimeout = (f, ms, ...args) => {
    const id = set(() => {
      timers.delete(id);
      f(...args);
    }, ms);
    timers.add(id);
    return id;
  };
  window.setInterval = (...args) => {
    const id = setI(...args);
    timers.add(id);
    return id;
  };
  window.clearTimeout = window.clearInterval = (id) => {
    timers.delete(id);
    clear(id);
    clearI(id);
  };
}

/** What became of the page's migration; the page has decided who is signed in by then. */
export function settled(page) {
  return page.evaluate(() => window.page.result);
}

export function stateOf(page) {
  return page.evaluate(() => document.documentElement.dataset.state);
}

/**
 * Waits until nothing in the page is left that could ask the API: no timer is set (the init script counts them) and no request is
 * on its way. A round trip to the page in between lets what is runnable run.
 */
export async function idle(w, page) {
  await until("the page is idle", async () => {
    const before = w.inFlight.size;
    const timers = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done(window.__pending()))));
    return before === 0 && w.inFlight.size === 0 && timers === 0;
  });
}

/** The handle of the page's session, as its access token has it. */
export function handleOf(page) {
  return page.evaluate(() => window.page.handle());
}

/** The page is signed in to SuperTokens, and the API sees it so. */
export async function assertSignedIn(page) {
  assert.equal(await stateOf(page), "signed-in");
  const me = await page.evaluate(() => window.page.me());
  assert.deepEqual(me, { status: 200, body: { userId: USER, legacy: false } });
}

/** Films a page by what its compositor sends. Develop tells, for each frame, which states' colours it holds. */
export async function film(page) {
  const cdp = await page.context().newCDPSession(page);
  const frames = [];
  cdp.on("Page.screencastFrame", ({ data, sessionId }) => {
    frames.push(data);
    cdp.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
  });
  await cdp.send("Page.startScreencast", { format: "png", everyNthFrame: 1 });
  const laboratory = await (await launched()).newPage();
  const develop = (from = 0) => laboratory.evaluate(readFrames, frames.slice(from));
  return {
    frames,
    develop,
    async stop() {
      await cdp.send("Page.stopScreencast");
      const states = await develop();
      await laboratory.close();
      return states;
    },
  };
}

/** Runs in the browser: the states whose colours (page/style.css) cover more than a tenth of each frame. */
async function readFrames(frames) {
  const colours = { "128,128,128": "undecided", "0,0,255": "legacy", "0,160,0": "signed-in", "255,0,255": "signed-out" };
  const out = [];
  for (const frame of frames) {
    const image = new Image();
    image.src = `data:image/png;base64,${frame}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const paint = canvas.getContext("2d");
    paint.drawImage(image, 0, 0);
    const { data } = paint.getImageData(0, 0, image.width, image.height);
    const seen = {};
    for (let i = 0; i < data.length; i += 4) {
      const state = colours[`${data[i]},${data[i + 1]},${data[i + 2]}`];
      if (state) seen[state] = (seen[state] ?? 0) + 1;
    }
    out.push(Object.keys(seen).filter((state) => seen[state] > data.length / 40));
  }
  return out;
}
