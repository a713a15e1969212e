/** What the panel knows of the person: loaded together, changed one by one, with the versions that were seen. */
import type { Answer, ApiClient, CallOptions, Method } from "../api/client.js";
import { ApiError } from "../api/client.js";
import type { components, paths } from "../api/schema.js";

type Schemas = components["schemas"];
export type Credential = Schemas["CredentialOut"];
export type Provider = Schemas["ProviderOut"];
export type Preference = Schemas["PreferenceOut"];
export type Task = Schemas["TaskOut"];
export type Settings = Schemas["SettingsOut"];
export type Session = Schemas["SessionOut"];
export type Route = Schemas["RouteOut"];
export type Hop = Schemas["AttemptOut"];
export type Policy = Schemas["UserPolicyOut"];

type Watched = "settings" | "preferences" | "tasks" | "credentials";

export const BUILT_IN_TASKS = ["coding", "research", "writing", "chat", "embedding"] as const;
const DEFAULT_PRIORITY = 100;

export class Store {
  session!: Session;
  settings!: Settings;
  /** What the administrators decided, as far as it concerns this person. */
  policy!: Policy;
  providers: readonly Provider[] = [];
  credentials: readonly Credential[] = [];
  preferences: readonly Preference[] = [];
  tasks: readonly Task[] = [];
  /** The chain of an ordinary request; null while it is not known. */
  chain: Route | null = null;

  #versions: Partial<Record<Watched, string | null>> = {};
  /** The last change of each kind: the next one waits for it, or the two would take each other for somebody else. */
  #working: Partial<Record<Watched, Promise<unknown>>> = {};

  constructor(
    private readonly api: () => ApiClient,
    private readonly onChange: (what: string) => void,
  ) {}

  /** Everything that the views share, at once. Throws ApiError. */
  async load(): Promise<void> {
    const api = this.api();
    const [session, providers, policy] = await Promise.all([
      api.get("/api/session"),
      api.get("/api/providers"),
      api.get("/api/policy"),
      this.loadSettings(),
      // A token made for looking at usage may not read these.
      ...[this.loadCredentials(), this.loadPreferences(), this.loadTasks(), this.loadChain()].map(unlessForbidden),
    ]);
    this.session = session;
    this.providers = providers;
    this.policy = policy;
  }

  /** Whether the administrators keep this person from changing something: `payer`, `preferences`, `tasks:coding`. */
  isLocked(what: string): boolean {
    const { locks } = this.policy;
    return locks.includes(what) || locks.includes(what.split(":")[0]!);
  }

  /** Whether this person is one of those who lend the shared keys. */
  get lends(): boolean {
    return this.session.role === "admin";
  }

  async loadCredentials(): Promise<void> {
    this.credentials = await this.#watch("credentials", "/api/credentials");
  }

  async loadPreferences(): Promise<void> {
    this.preferences = await this.#watch("preferences", "/api/preferences");
  }

  async loadTasks(): Promise<void> {
    this.tasks = await this.#watch("tasks", "/api/tasks");
  }

  async loadSettings(): Promise<void> {
    this.settings = await this.#watch("settings", "/api/settings");
  }

  /** What a request without wishes would do now. */
  async loadChain(): Promise<void> {
    this.chain = await this.api().post("/api/route/preview", { model: "auto" } as never);
  }

  /**
   * A change of something that is watched, after those of the same kind that are on their way; `options` may be worked
   * out when it is its turn. Refused with 412 when another window changed it in between, in which case
   * the current state is loaded before the error goes on. Throws ApiError.
   */
  async change<P extends keyof paths, M extends Method>(
    what: Watched,
    method: M,
    path: P,
    options: CallOptions | (() => CallOptions) = {},
  ): Promise<Answer<P, M>> {
    const work = (this.#working[what] ?? Promise.resolve()).then(() => this.#change(what, method, path, options));
    this.#working[what] = work.catch(() => undefined);
    return work;
  }

  async #change<P extends keyof paths, M extends Method>(
    what: Watched,
    method: M,
    path: P,
    options: CallOptions | (() => CallOptions),
  ): Promise<Answer<P, M>> {
    try {
      const { data, etag } = await this.api().call(method, path, {
        ...(typeof options === "function" ? options() : options),
        ifMatch: this.#versions[what] ?? null,
      });
      if (etag) this.#versions[what] = etag;
      await this.#reload(what);
      this.onChange(what);
      return data;
    } catch (error) {
      if (error instanceof ApiError && error.status === 412) await this.#reload(what);
      throw error;
    }
  }

  /** The wish for a provider, or the defaults. */
  preference(provider: string): Preference {
    return (
      this.preferences.find((one) => one.provider === provider) ?? {
        provider,
        enabled: true,
        priority: DEFAULT_PRIORITY,
        default_model: null,
        may_fall_back: true,
        backup_only: false,
      }
    );
  }

  provider(id: string): Provider | undefined {
    return this.providers.find((one) => one.id === id);
  }

  /** A provider's name for people; its id when the provider is gone. */
  label(provider: string): string {
    return this.provider(provider)?.label ?? provider;
  }

  /** What a key is called: its label, and its end where another key of its provider has the same. */
  keyName({ id, label, hint }: Pick<Credential, "id" | "label" | "hint">): string {
    if (!label) return hint;
    const { provider } = this.credentials.find((one) => one.id === id) ?? {};
    const alike = this.credentials.some((one) => one.id !== id && one.label === label && one.provider === provider);
    return alike ? `${label} (${hint})` : label;
  }

  /** The person's keys at a provider, in their order. */
  keysOf(provider: string): readonly Credential[] {
    return this.credentials.filter((one) => one.provider === provider);
  }

  /** The tasks that go somewhere even when the person says nothing: the built-in ones and the administrators'. */
  get standingTasks(): readonly string[] {
    return [...new Set([...BUILT_IN_TASKS, ...Object.keys(this.policy.defaults.tasks)])];
  }

  /** The tasks that can be set: the standing ones and the person's own. */
  get taskNames(): readonly string[] {
    return [...new Set([...this.standingTasks, ...this.tasks.map((one) => one.task)])];
  }

  async #watch<P extends "/api/credentials" | "/api/preferences" | "/api/tasks" | "/api/settings">(
    what: Watched,
    path: P,
  ): Promise<Answer<P, "get">> {
    const { data, etag } = await this.api().call("get", path);
    this.#versions[what] = etag;
    return data;
  }

  async #reload(what: Watched): Promise<void> {
    const loaders: Record<Watched, () => Promise<void>> = {
      settings: () => this.loadSettings(),
      preferences: () => this.loadPreferences(),
      tasks: () => this.loadTasks(),
      credentials: () => Promise.all([this.loadCredentials(), this.loadTasks()]).then(() => undefined),
    };
    await Promise.all([loaders[what](), this.loadChain()]);
  }
}

async function unlessForbidden(loading: Promise<void>): Promise<void> {
  try {
    await loading;
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 403)) throw error;
  }
}
