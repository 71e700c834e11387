export interface MigrateOptions {
  /** The API's origin, as SuperTokens' frontend SDK has it: "https://api.example.com". */
  apiDomain: string;
  /** Where the backend mounted the exchange. Default: "/migrate-session". */
  path?: string;
  /**
   * The page's legacy token, in clear, or nothing where nobody is signed in there. Anything but a string is a TypeError. Called
   * twice where there is no session, before and after the wait for other tabs.
   */
  getLegacyToken(): string | null | undefined | Promise<string | null | undefined>;
  /**
   * What stays the same when the legacy token is renewed, and differs after another sign-in: the sid of a Keycloak or Clerk token, the
   * session_id of a Supabase one. Needed where a reload brings another token, as with SDKs that keep theirs in memory: a lost answer is
   * given again only to whoever asks with the same Idempotency-Key, which is kept with the hash of this. Default, and where it returns
   * nothing: the token itself. Anything but a string is a TypeError.
   */
  getLegacySessionId?(token: string): string | null | undefined | Promise<string | null | undefined>;
  /**
   * Removes the legacy session from this browser: its token, its cookies, its SDK's state. Called only once the new session
   * has arrived. What it throws is swallowed, and so is one that takes longer than timeoutMs; the result's legacyEnded is false then.
   */
  endLegacySession(): unknown;
  /** Session.doesSessionExist of SuperTokens' frontend SDK. */
  doesSessionExist(): boolean | Promise<boolean>;
  /**
   * The legacy session was exchanged already and this browser holds no session (code "ALREADY_MIGRATED": signed out since, or
   * migrated somewhere else), or it holds another user's ("OTHER_SESSION"). Show the login; do not call migrateSession again.
   */
  onSignedOut(code: "ALREADY_MIGRATED" | "OTHER_SESSION"): unknown;
  /**
   * How often to ask, at most: 1 to 100. Default: 6. The pauses between take less than 16 seconds, if the server names no
   * Retry-After, which is honoured up to a minute.
   */
  attempts?: number;
  /** How long to wait for one answer, for another tab's run, and for endLegacySession, in milliseconds each. Default: 30000. */
  timeoutMs?: number;
  /** Gives up, with the signal's reason. An exchange that is on its way goes on at the server; the next call gets its answer. */
  signal?: AbortSignal;
}

export type MigrateResult =
  /** The browser has its SuperTokens session now, from this exchange or another tab's. */
  | { status: "migrated"; legacyEnded: boolean }
  /** It had one already. */
  | { status: "current" }
  /** There is no legacy session, and nothing was asked. */
  | { status: "nothing" }
  /** The server does not migrate this user yet (204). The legacy session stays. */
  | { status: "not-admitted" }
  /** onSignedOut was called. */
  | { status: "signed-out"; code: string }
  /** The legacy token is worth nothing to the server, or the request is wrong. The code is the answer's status. */
  | { status: "refused"; code: string }
  /**
   * No answer that could be used; the code is "" where it was not the exchange's own (a proxy's page, or that of a node which does
   * not run this release yet). The legacy session stays; the next page load tries again. SESSION_DID_NOT_ARRIVE: the server
   * said 200 and the browser has no session all the same; see to CORS (allow, expose, credentials) and to cookie attributes.
   */
  | { status: "unavailable"; code: string };

/**
 * Moves this browser's legacy session to SuperTokens. Call it once a page load, after SuperTokens.init and before the page
 * decides who is signed in. Calls while one runs, and after one that ended with a session or without the user, get the
 * first one's result. It throws TypeError for wrong options, what the callbacks throw (but endLegacySession), and the signal's reason.
 */
export function migrateSession(options: MigrateOptions): Promise<MigrateResult>;
