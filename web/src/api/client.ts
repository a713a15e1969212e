/** Typed calls of the management API. The types come from its OpenAPI description. */
import type { paths } from "./schema.js";

export type Method = "get" | "post" | "put" | "patch" | "delete";

type Operation<P extends keyof paths, M extends Method> = paths[P] extends { [K in M]: infer O } ? O : never;
/** The paths that have a method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: Operation<P, M> extends { responses: unknown } ? P : never;
}[keyof paths];

type JsonOf<R> = R extends { content: { "application/json": infer T } } ? T : never;
/** What a successful call answers. */
export type Answer<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { responses: infer R }
    ? R extends { 200: infer A }
      ? JsonOf<A>
      : R extends { 201: infer B }
        ? JsonOf<B>
        : void
    : never;
type BodyOf<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { requestBody?: { content: { "application/json": infer B } } } ? B : never;

/** Query parameters; what is null or empty is left out. */
export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

export interface CallOptions<B = unknown> {
  path?: Record<string, string>;
  query?: Query | undefined;
  body?: B;
  /** The version that the caller has seen: somebody else's change in between makes the call fail with 412. */
  ifMatch?: string | null;
  signal?: AbortSignal;
}

const TOKEN = /^[\x21-\x7e]+$/;

/** A field of the request that was refused. */
export interface FieldFault {
  field: string;
  message: string;
}

/** A call that did not succeed. `code` is stable; `message` is English and for people. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 0,
    readonly fields: readonly FieldFault[] = [],
    readonly retryAfterSeconds: number | null = null,
    readonly extra: Record<string, unknown> = {},
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Gives a token for the next calls. Asked anew when a token was refused. */
export type TokenSource = () => string | Promise<string>;

export interface Received<T> {
  data: T;
  etag: string | null;
}

/** What a client tells besides its answers. */
export interface ClientEvents {
  /** Nobody is signed in any more, or the page's tokens are refused: no call will succeed. */
  refused(error: ApiError): void;
  /** The server has answered, whatever it said. */
  reached(): void;
}

/** One server, one signed-in person. Tokens stay in memory. */
export class ApiClient {
  #token: string | null = null;
  #asking: Promise<string> | null = null;
  /** The first call with a new token after one was refused; the others wait for what it finds out. */
  #trial: Promise<unknown> | null = null;
  /** Why no further token is asked for: the one that the page gave after a refused one was refused, too. */
  #over: ApiError | null = null;

  /**
   * @param base address of the server, ending in a slash
   * @param source where tokens come from; without one the session cookie of the server's own page is used
   */
  constructor(
    readonly base: string,
    readonly source: TokenSource | null = null,
    private readonly events: ClientEvents | null = null,
  ) {}

  async get<P extends PathOf<"get">>(path: P, options?: CallOptions<never>): Promise<Answer<P, "get">> {
    return (await this.call("get", path, options)).data;
  }

  async post<P extends PathOf<"post">>(
    path: P,
    body?: BodyOf<P, "post">,
    options?: CallOptions,
  ): Promise<Answer<P, "post">> {
    return (await this.call("post", path, { ...options, body })).data;
  }

  /** A call with all that it answers. Throws ApiError. */
  async call<P extends keyof paths, M extends Method>(
    method: M,
    path: P,
    options: CallOptions<BodyOf<P, M> | unknown> = {},
  ): Promise<Received<Answer<P, M>>> {
    const response = await this.#send(method, String(path), options);
    const etag = response.headers.get("etag");
    if (response.status === 204) return { data: undefined as Answer<P, M>, etag };
    return { data: (await response.json()) as Answer<P, M>, etag };
  }

  /** A file, with the name that the server gave it. Throws ApiError. */
  async download(path: string, query?: Query): Promise<{ blob: Blob; name: string }> {
    const response = await this.#send("get", path, { query });
    const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "ownkey";
    return { blob: await response.blob(), name };
  }

  async #send(method: Method, path: string, options: CallOptions, again = false): Promise<Response> {
    if (this.#over) throw this.#over;
    const headers: Record<string, string> = { accept: "application/json" };
    let token: string | null = null;
    if (this.source) {
      token = this.#token ??= await this.#ask();
      headers["authorization"] = `Bearer ${token}`;
    } else {
      // A form of another site cannot send this header: see the server's check against cross-site requests.
      headers["x-ownkey-panel"] = "1";
    }
    if (options.body !== undefined) headers["content-type"] = "application/json";
    if (options.ifMatch) headers["if-match"] = options.ifMatch;
    let response: Response;
    try {
      response = await fetch(this.#address(path, options), {
        method: method.toUpperCase(),
        headers,
        body: options.body === undefined ? null : JSON.stringify(options.body),
        credentials: this.source ? "omit" : "same-origin",
        cache: "no-store",
        redirect: "error",
        signal: options.signal ?? null,
      });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError("offline", "The server cannot be reached.");
    }
    this.events?.reached();
    if (response.ok) return response;
    const problem = await readProblem(response);
    // A wrong password is no end of the session.
    if (problem.status !== 401 || problem.code === "sign_in_failed") throw problem;
    if (this.source && !again) return this.#renew(method, path, options, token);
    if (this.source) this.#over ??= problem;
    this.events?.refused(problem);
    throw problem;
  }

  /**
   * Tokens are short-lived on purpose: one silent renewal, then the host is asked to sign in again. A call that was
   * sent at the same time may have brought the new token already.
   */
  async #renew(method: Method, path: string, options: CallOptions, refused: string | null): Promise<Response> {
    if (this.#token === refused) this.#token = null;
    if (this.#trial) {
      await this.#trial;
      return this.#send(method, path, options, true);
    }
    const sending = this.#send(method, path, options, true);
    const trial = sending.then(
      () => undefined,
      () => undefined,
    );
    this.#trial = trial;
    await trial;
    this.#trial = null;
    return sending;
  }

  async #ask(): Promise<string> {
    this.#asking ??= Promise.resolve()
      .then(() => this.source!())
      .finally(() => (this.#asking = null));
    let token: string;
    try {
      token = await this.#asking;
    } catch {
      throw this.#lack("token_unavailable");
    }
    if (typeof token !== "string" || !token.trim()) throw this.#lack("token_missing");
    // An error page of the host, say: no header can carry it.
    if (!TOKEN.test(token.trim())) throw this.#lack("token_malformed");
    return token.trim();
  }

  #lack(code: string): ApiError {
    const error = new ApiError(code, "The page did not hand over a token.", 401);
    this.events?.refused(error);
    return error;
  }

  #address(path: string, options: CallOptions): string {
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(options.path?.[name] ?? ""));
    const address = new URL(filled.replace(/^\//, ""), this.base);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value === null || value === undefined || value === "") continue;
      address.searchParams.set(name, Array.isArray(value) ? value.join(",") : String(value));
    }
    return address.href;
  }
}

/** A refused call as the server explains it (RFC 9457), or what can be said without an explanation. */
async function readProblem(response: Response): Promise<ApiError> {
  let problem: Record<string, unknown> = {};
  try {
    problem = (await response.json()) as Record<string, unknown>;
  } catch {
    // A proxy in between answers in its own words.
  }
  const seconds = Number(response.headers.get("retry-after"));
  const faults = Array.isArray(problem["errors"]) ? (problem["errors"] as Record<string, unknown>[]) : [];
  return new ApiError(
    typeof problem["code"] === "string" ? problem["code"] : `http_${response.status}`,
    typeof problem["detail"] === "string" ? problem["detail"] : `HTTP ${response.status}`,
    response.status,
    faults.map((one) => ({ field: String(one["field"] ?? ""), message: String(one["detail"] ?? "") })),
    Number.isFinite(seconds) && seconds > 0 ? seconds : null,
    problem,
  );
}
