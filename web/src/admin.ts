/**
 * `<llm-admin-panel>`: what administrators watch and decide. It asks for nothing that could hold a secret.
 *
 * Used like `<llm-settings-panel>`, with a token of an administrator; on the server's own page the session says who.
 */
import type { AdminSurroundings } from "./admin/surroundings.js";
import { ApiError } from "./api/client.js";
import type { components } from "./api/schema.js";
import { Shell, type Tab } from "./core/shell.js";
import type { View } from "./core/view.js";
import { admin } from "./i18n/admin.js";

type Session = components["schemas"]["SessionOut"];
type Provider = components["schemas"]["AdminProviderOut"];
type TabName = keyof (typeof admin)["en"]["tabs"];

export class LlmAdminPanel extends Shell implements AdminSurroundings {
  person!: Session;
  providers: readonly Provider[] = [];

  // Each view comes when its tab is opened.
  #openers: Record<TabName, () => Promise<View>> = {
    users: async () => new (await import("./admin/users.js")).UsersView(this),
    usage: async () => new (await import("./admin/usage.js")).AdminUsageView(this),
    health: async () => new (await import("./admin/health.js")).HealthView(this),
    policy: async () => new (await import("./admin/policy.js")).PolicyView(this),
    providers: async () => new (await import("./admin/providers.js")).ProvidersView(this),
    audit: async () => new (await import("./admin/audit.js")).AuditView(this),
    encryption: async () => new (await import("./admin/encryption.js")).EncryptionView(this),
  };

  /** A provider's name for people; its id when the provider is gone. */
  label(provider: string): string {
    return this.providers.find((one) => one.id === provider)?.label ?? provider;
  }

  /** The catalogue, which the providers' tab can change. Throws ApiError. */
  async loadProviders(): Promise<void> {
    this.providers = await this.api.get("/api/admin/providers");
  }

  protected override tabs(): readonly Tab[] {
    const names = admin[this.language].tabs;
    return (Object.keys(names) as TabName[]).map((id) => ({ id, label: names[id], open: this.#openers[id] }));
  }

  protected override heading(): string {
    return admin[this.language].heading;
  }

  protected override async load(): Promise<void> {
    this.person = await this.api.get("/api/session");
    if (!this.person.scopes.includes("admin")) {
      throw new ApiError("not_an_administrator", admin[this.language].notAllowed, 403);
    }
    await this.loadProviders();
  }
}

if (!customElements.get("llm-admin-panel")) customElements.define("llm-admin-panel", LlmAdminPanel);
