// What the page shows. Everything is written as text, never as markup.

const $ = (id) => document.getElementById(id);
const app = $("app");
const buttons = ["to-sign-in", "deploy", "reload", "start-over", "submit", "retry", "call-api", "refresh", "replay", "sign-out", "update"];

/** data-state is "checking", "pending", "legacy", "supertokens", "signed-out" or "unavailable". */
function enter(state, tone, badge, notice) {
  app.dataset.state = state;
  $("badge").textContent = badge;
  $("notice").textContent = notice;
  $("badge").dataset.tone = $("notice").dataset.tone = tone;
  $("sign-in").hidden = state !== "signed-out";
  $("unavailable").hidden = state !== "unavailable";
  $("session").hidden = state === "signed-out" || state === "unavailable";
  enable();
}

export const shows = (state) => app.dataset.state === state;

/** Somebody is signed in; the rest is not known yet. */
export function pending({ name, email }, moving) {
  if (moving) enter("pending", "wait", "Moving", "Signed in. Your session moves to SuperTokens.");
  else enter("pending", "old", "Legacy session", "Signed in by the legacy provider's token.");
  person(name, email);
}

export function session(me, { notice, canRefresh, tokenLength }) {
  const old = me.session === "legacy";
  if (old) enter(me.session, "old", "Legacy session", notice ?? "Signed in by the legacy provider's token.");
  else enter(me.session, "good", "SuperTokens session", notice ?? "Signed in by a SuperTokens session.");
  person(me.name, me.email);
  $("kind").textContent = old ? "The legacy provider's" : "SuperTokens";
  $("session-id").textContent = me.sessionId;
  $("user-id").textContent = me.userId;
  $("tenant").textContent = old ? "none" : me.tenantId;
  $("kept-in").textContent = old
    ? `localStorage: a token of ${tokenLength} characters that every script here can read`
    : "HttpOnly cookies: no script can read them";
  $("payload").textContent = JSON.stringify(me.payload, shortened, 2);
  expiry = new Date(me.expiresAt);
  showExpiry();
  allowed = { refresh: canRefresh && !old, replay: !old };
  enable();
}

export function signedOut(withSuperTokens, notice) {
  enter("signed-out", "wait", "Signed out", notice ?? "Nobody is signed in.");
  $("after-sign-in").textContent = withSuperTokens
    ? "Signing in now starts a SuperTokens session: the server sets HttpOnly cookies, and no token comes to this page."
    : "The legacy app keeps the provider's token in this browser's localStorage, as such apps do. See below what that means.";
  expiry = undefined;
  for (const element of document.querySelectorAll("#session [data-wait]")) element.textContent = "";
}

export function unavailable(notice) {
  enter("unavailable", "bad", "No answer", notice ?? "The server did not say who you are. Nothing was signed out.");
}

/** What to do next. withSuperTokens is what the page runs, and deployed what the server does. */
export function steps(withSuperTokens, isDeployed = withSuperTokens) {
  deployed = isDeployed;
  stale = deployed !== withSuperTokens;
  const signedIn = shows("legacy") || shows("pending") || shows("supertokens");
  const here = stale ? "reload" : deployed ? undefined : signedIn ? "deploy" : "sign-in";
  for (const [step, number, done] of [["sign-in", 1, signedIn || deployed], ["deploy", 2, deployed], ["reload", 3, deployed && !stale]]) {
    const item = $(`step-${step}`);
    item.toggleAttribute("data-done", done);
    item.querySelector(".number").textContent = done ? "✓" : number;
    if (step === here) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  $("sign-in-text").textContent = deployed && !stale ? "Sign-ins go to SuperTokens now." : "To the legacy app, with a demo account.";
  $("release").textContent = deployed ? "The server runs SuperTokens." : "The server runs the legacy app.";
  $("reload-text").textContent = deployed && !stale ? "The page runs SuperTokens, too." : "The page then moves its session.";
  enable();
}

/** Counts, and what happened. */
export function state({ release, minted, live, revoked, canReplay, timeline }, withSuperTokens) {
  replayable = canReplay;
  steps(withSuperTokens, release === "supertokens");
  $("minted").textContent = minted;
  $("live").textContent = live;
  $("revoked").textContent = revoked;
  const list = $("timeline");
  list.replaceChildren(...(timeline.length ? timeline.map(item) : [text("li", "empty", "Nothing yet.")]));
  list.scrollTop = list.scrollHeight;
}

function item({ time, title, status, request, sent, got }) {
  const li = document.createElement("li");
  const refused = status >= 400 && status !== 401; // a 401 is how the SDK learns that it should refresh, or need not
  const chip = text("span", "chip", request ? status || "…" : "");
  chip.dataset.tone = refused ? "bad" : status && status !== 401 ? "good" : "wait";
  li.dataset.mark = refused ? "bad" : chip.dataset.tone === "good" ? "good" : "";
  const words = request ? [sent && `sent ${sent}`, got && `got ${got}`] : [got];
  const when = text("time", "", clock(time));
  when.dateTime = time;
  li.append(text("span", request ? "title code" : "title", title), chip, text("span", "detail", words.filter(Boolean).join(" · ")), when);
  return li;
}

function text(tag, className, content) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  return element;
}

function person(name, email) {
  $("name").textContent = name ?? "";
  $("email-shown").textContent = email ?? "";
  document.querySelector(".avatar").textContent = (name ?? "").split(" ").map((word) => word[0]).join("");
}

/** Hashes and the like are shown by their beginning. */
const shortened = (_, value) => (typeof value === "string" && value.length > 44 ? `${value.slice(0, 12)}…` : value);

const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

let expiry;
function showExpiry() {
  if (!expiry) return;
  const left = Math.max(0, Math.round((expiry - Date.now()) / 1000));
  const part = (n) => String(n).padStart(2, "0");
  const span = `${Math.floor(left / 3600)}:${part(Math.floor(left / 60) % 60)}:${part(left % 60)}`;
  $("expires").textContent = left ? `at ${clock(expiry)}, in ${span}` : `at ${clock(expiry)}: refreshed at the next call`;
}
setInterval(showExpiry, 1000);

let working = false;
let deployed = false;
let stale = false;
let replayable = false;
let allowed = {};

/** Tells whether an action runs, or says so. */
export function busy(now) {
  if (now === undefined) return working;
  working = now;
  app.setAttribute("aria-busy", String(now));
  enable();
}

/**
 * Buttons that lead nowhere are disabled. One that has the focus and runs keeps both: who uses the keyboard stays where they are.
 */
function enable() {
  const inSession = shows("legacy") || shows("supertokens");
  const may = {
    "to-sign-in": shows("signed-out"), deploy: !deployed, reload: stale, "call-api": inSession, "sign-out": inSession,
    refresh: inSession && allowed.refresh, replay: inSession && allowed.replay && replayable,
  };
  for (const id of buttons) {
    const disabled = may[id] === false;
    if (disabled && working && document.activeElement === $(id)) continue;
    $(id).disabled = disabled;
  }
}

/** Says to everybody, screen readers included, what an action did. */
export function say(words, tone = "") {
  $("status").textContent = words;
  $("status").dataset.tone = tone;
}

export function wrongPassword() {
  say("Wrong e-mail or password. The right ones are above the form.", "bad");
  $("password").select();
}

export function focusSession() {
  $("session-title").focus({ preventScroll: true });
}

export function focusReload() {
  stale = true;
  enable();
  $("reload").focus();
}

export function on(actions) {
  const click = (id, run) => $(id).addEventListener("click", () => run());
  $("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    actions.signIn({ email: $("email").value, password: $("password").value });
  });
  click("to-sign-in", () => $("submit").focus());
  click("sign-out", actions.signOut);
  click("refresh", actions.refresh);
  click("call-api", actions.callApi);
  click("replay", actions.replay);
  click("deploy", actions.deploy);
  click("reload", actions.reload);
  click("start-over", actions.startOver);
  click("retry", actions.retry);
  click("update", actions.update);
}
