// The legacy session as single-page apps keep it: the provider's access token in localStorage, and beside it whom it is for.
//
// That is the weak place. A token that scripts can read is one that a stolen script can copy. Memory would be better, but does not
// survive a reload; an HttpOnly cookie would be best, and is what SuperTokens gives. A migration meets the token where it lies.

const TOKEN = "legacy.access_token";
const PROFILE = "legacy.profile";

export const token = () => localStorage.getItem(TOKEN);

export function profile() {
  try {
    const { name, email } = JSON.parse(localStorage.getItem(PROFILE));
    return { name: String(name), email: String(email) };
  } catch {
    return {};
  }
}

export function keep({ accessToken, name, email }) {
  localStorage.setItem(PROFILE, JSON.stringify({ name, email }));
  localStorage.setItem(TOKEN, accessToken);
}

export function forget() {
  localStorage.removeItem(TOKEN);
  localStorage.removeItem(PROFILE);
}

/** Calls back when another tab signed in or out, or moved the session. */
export function onChangeElsewhere(callback) {
  window.addEventListener("storage", (event) => event.key === TOKEN && callback());
}
