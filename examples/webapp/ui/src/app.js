import SuperTokens from "supertokens-web-js";
import Session from "supertokens-web-js/recipe/session";
import { migrateSession } from "@stmigrate/web";
import * as legacy from "./legacy.js";
import * as view from "./view.js";

/** What this page was loaded as, whatever the server runs by now. */
const withSuperTokens = document.documentElement.dataset.release === "supertokens";

/** SuperTokens' SDK replaces window.fetch; the demo's own switches go past it. */
const plainFetch = window.fetch.bind(window);

let initialized = false;
function initialize() {
  if (initialized || !withSuperTokens) return;
  SuperTokens.init({
    appInfo: { appName: "stmigrate demo", apiDomain: location.origin, apiBasePath: "/auth" },
    recipeList: [Session.init({ tokenTransferMethod: "cookie" })],
  });
  initialized = true;
}

/**
 * Whether the SDK keeps a session here, live or not. doesSessionExist says no as well where the session has to be refreshed and
 * nobody answers, and that signs nobody out.
 */
const keepsSession = () => Session.getUserId().then(() => true, () => false);

async function start() {
  view.steps(withSuperTokens);
  try {
    initialize();
    await findSession();
  } catch (error) {
    view.unavailable(error.name === "SecurityError" ? "This browser keeps nothing for the page. Allow it cookies and site data." : undefined);
  }
}

async function findSession() {
  if (!withSuperTokens) {
    if (!legacy.token()) return signedOut();
    view.pending(legacy.profile(), withSuperTokens);
    return showSession();
  }
  // Who has a legacy token is signed in, and is shown so while the session moves.
  if (legacy.token()) view.pending(legacy.profile(), withSuperTokens);
  showState();
  const result = await migrateSession({
    apiDomain: location.origin,
    getLegacyToken: legacy.token,
    endLegacySession: legacy.forget,
    doesSessionExist: Session.doesSessionExist,
    onSignedOut: () => signedOut("This legacy session was exchanged before, and its session was signed out since."),
  });
  switch (result.status) {
    case "migrated":
      return showSession("Moved to SuperTokens, without a sign-in.");
    case "nothing":
      return (await keepsSession()) ? showSession() : signedOut();
    case "signed-out":
      return;
    case "refused":
      return signedOut("The legacy session is over.");
    case "current":
      legacy.forget(); // a leftover
      return showSession();
    default: // "not-admitted", "unavailable": the legacy session goes on
      return showSession("Still signed in by the legacy token. The next load tries to move it.");
  }
}

/** The legacy session goes along for as long as there is one; after that the SDK's cookies do. */
function callApi() {
  const token = legacy.token();
  return fetch("/api/me", { cache: "no-store", headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

/** Shows the session as the API sees it, and returns the API's answer. No answer is no sign-out. */
async function showSession(notice) {
  try {
    const response = await callApi();
    if (response.status === 401) {
      signedOut("The session is over.");
    } else if (response.ok) {
      view.session(await response.json(), { notice, canRefresh: withSuperTokens, tokenLength: legacy.token()?.length });
    } else {
      view.unavailable();
    }
    return response;
  } catch {
    view.unavailable();
  }
}

function signedOut(notice) {
  legacy.forget();
  view.signedOut(withSuperTokens, notice);
}

async function signIn({ email, password }) {
  const response = await fetch("/sign-in", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ email, password }),
  });
  if (response.status === 403) return view.wrongPassword();
  if (!response.ok) return view.say("The server cannot sign anybody in just now. Try again.", "bad");
  const answer = await response.json();
  if (answer.accessToken) legacy.keep(answer);
  // Another release was deployed meanwhile: what came is for its code.
  if (Boolean(answer.accessToken) === withSuperTokens) return location.reload();
  await showSession();
  view.say(withSuperTokens ? "Signed in, straight to SuperTokens." : "Signed in to the legacy app. Next: deploy SuperTokens.");
  view.focusSession();
}

async function signOut() {
  const token = legacy.token();
  let ended = true;
  if (token) {
    const response = await plainFetch("/legacy/sign-out", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    ended = response.ok;
  } else {
    await Session.signOut();
    if (await keepsSession()) throw new Error("nobody answered");
  }
  signedOut();
  if (ended) view.say("Signed out.");
  else view.say("Signed out in this browser. The provider did not answer: there the session goes on until it expires.", "bad");
  view.focusSession();
}

async function refresh() {
  const done = await Session.attemptRefreshingSession();
  await showSession();
  if (done) view.say("Refreshed: a new access token, the same session.");
}

async function tryApi() {
  const response = await showSession();
  if (response) view.say(`GET /api/me answered ${response.status}${response.ok ? ": the API knows you." : "."}`);
}

async function replay() {
  const { answer } = await demo("replay");
  view.say(answer === 409 ? "A thief replayed the old token: 409 ALREADY_MIGRATED, nothing minted." : `The replay was answered ${answer}.`);
}

async function deploy() {
  await demo("deploy");
  view.say("SuperTokens is deployed. This page still runs the legacy release: reload it.");
  view.focusReload();
}

async function startOver() {
  if (withSuperTokens) await Session.signOut().catch(() => {}); // the server ends it anyhow
  await demo("start-over");
  legacy.forget();
  location.reload();
}

async function demo(what) {
  const response = await plainFetch(`/demo/${what}`, { method: "POST" });
  if (!response.ok) throw new Error(`${what}: ${response.status}`);
  return response.json();
}

async function showState() {
  try {
    const response = await plainFetch("/demo/state", { cache: "no-store" });
    if (response.ok) view.state(await response.json(), withSuperTokens);
  } catch {
    // The server is gone. What was shown stays.
  }
}

/** Runs what a button does, once at a time, and shows what it did on the wire. */
function action(run) {
  return async (...args) => {
    if (view.busy()) return;
    view.busy(true);
    try {
      await run(...args);
    } catch {
      view.say("The server did not answer. Nothing was signed out; try again.", "bad");
    }
    await showState();
    view.busy(false);
  };
}

view.on({
  signIn: action(signIn), signOut: action(signOut), refresh: action(refresh), callApi: action(tryApi), replay: action(replay),
  deploy: action(deploy), startOver: action(startOver), retry: action(start), update: action(showState),
  reload: () => location.reload(),
});
// Another tab moved the session, or ended it: the page finds out which from the start.
legacy.onChangeElsewhere(() => location.reload());
document.addEventListener("visibilitychange", async () => {
  if (document.visibilityState !== "visible") return;
  if (withSuperTokens && view.shows("supertokens") && !(await keepsSession())) signedOut("Signed out in another tab.");
  await showState();
});
action(start)();
