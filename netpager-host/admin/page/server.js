// Talking to the service: single questions, and the stream of samples with its reconnecting.

/** Nothing for so long means the connection is dead, whatever the operating system says. */
const SILENCE_MS = 5000;
const RETRY_MAX_MS = 8000;

/** A no, with the service's sentence. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function token() {
  try {
    return sessionStorage.getItem("token") ?? "";
  } catch {
    return "";
  }
}

/** Remembers the token until the tab is closed. */
export function setToken(text) {
  sessionStorage.setItem("token", text);
}

async function send(method, path, query, body, signal) {
  const parameters = new URLSearchParams(query).toString();
  const headers = {};
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) };
  const response = await fetch(`/api/v1${path}${parameters ? `?${parameters}` : ""}`, options);
  if (response.ok) return response;
  const fault = await response.json().catch(() => ({}));
  throw new Refused(response.status, fault.message ?? `the service answered with status ${response.status}`);
}

async function parsed(response) {
  return response.status === 204 ? undefined : response.json();
}

export const get = async (path, query = {}) => parsed(await send("GET", path, query));
export const post = async (path, query, body) => parsed(await send("POST", path, query, body));
export const remove = async (path, query) => parsed(await send("DELETE", path, query));

/** Reads events until the stream ends; `alive` is called with every piece. */
async function read(response, alive, sample) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) sample(JSON.parse(data));
    }
  }
}

/**
 * Follows the samples for ever. `on.sample(sample)`, `on.live()`, `on.lost(retrySeconds)`, and `on.unauthorized()`, which
 * returns a promise of another try.
 */
export async function follow(on) {
  let wait = 1000;
  for (;;) {
    const controller = new AbortController();
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), SILENCE_MS);
    };
    try {
      alive();
      const response = await send("GET", "/events", {}, undefined, controller.signal);
      await read(response, alive, (sample) => {
        wait = 1000;
        on.sample(sample);
      });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        await on.unauthorized();
        continue;
      }
      if (!(error instanceof TypeError || error instanceof Refused || error.name === "AbortError")) throw error;
    } finally {
      clearTimeout(timer);
    }
    on.lost(wait / 1000);
    await new Promise((resume) => setTimeout(resume, wait));
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  }
}
