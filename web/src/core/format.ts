/** Numbers, money and times in the words of one locale. */

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export class Format {
  constructor(readonly locale: string) {}

  number(value: number): string {
    return new Intl.NumberFormat(this.locale).format(value);
  }

  /** 12.3K: for places where the exact number stands elsewhere. */
  compact(value: number): string {
    return new Intl.NumberFormat(this.locale, { notation: "compact", maximumFractionDigits: 1 }).format(value);
  }

  /** 131K, 1.5M: a size of which nobody needs more than a notion. */
  about(value: number): string {
    const maximumFractionDigits = value < 1_000_000 ? 0 : 1;
    return new Intl.NumberFormat(this.locale, { notation: "compact", maximumFractionDigits }).format(value);
  }

  /** $1,000,000,000: whole dollars. */
  dollars(value: number): string {
    return new Intl.NumberFormat(this.locale, { style: "currency", currency: "USD", maximumFractionDigits: 0 }).format(value);
  }

  percent(share: number): string {
    return new Intl.NumberFormat(this.locale, { style: "percent", maximumFractionDigits: 1 }).format(share);
  }

  /** Micro-dollars as money. Amounts under a cent keep two significant digits; null has no price and is a dash. */
  money(microdollars: number | null | undefined): string {
    if (microdollars === null || microdollars === undefined) return "—";
    const dollars = microdollars / 1_000_000;
    const small = dollars !== 0 && Math.abs(dollars) < 0.01;
    return new Intl.NumberFormat(this.locale, {
      style: "currency",
      currency: "USD",
      ...(small ? { maximumSignificantDigits: 2 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 }),
    }).format(dollars);
  }

  /** Micro-dollars on an axis whose lines are `step` apart: as many digits as tell the lines apart. */
  moneyTick(microdollars: number, step: number): string {
    const digits = step >= 1_000_000 ? 0 : Math.max(2, Math.ceil(6 - Math.log10(step)));
    return new Intl.NumberFormat(this.locale, {
      style: "currency",
      currency: "USD",
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }).format(microdollars / 1_000_000);
  }

  /** Milliseconds as ms or s. */
  duration(milliseconds: number | null | undefined): string {
    if (milliseconds === null || milliseconds === undefined) return "—";
    const inSeconds = milliseconds >= 1000;
    return new Intl.NumberFormat(this.locale, {
      style: "unit",
      unit: inSeconds ? "second" : "millisecond",
      unitDisplay: "short",
      maximumFractionDigits: inSeconds ? 1 : 0,
    }).format(inSeconds ? milliseconds / 1000 : milliseconds);
  }

  /** A calendar day that the server counts in UTC (`2030-01-31`). */
  day(day: string, style: "short" | "long" = "short"): string {
    return new Intl.DateTimeFormat(this.locale, {
      timeZone: "UTC",
      ...(style === "short" ? { day: "numeric", month: "short" } : { dateStyle: "medium" }),
    }).format(new Date(`${day}T00:00:00Z`));
  }

  /** A calendar month (`2030-01`). */
  month(month: string, style: "short" | "long" = "short"): string {
    return new Intl.DateTimeFormat(this.locale, { timeZone: "UTC", month: style, year: "numeric" }).format(
      new Date(`${month}-01T00:00:00Z`),
    );
  }

  date(instant: string | null | undefined): string {
    return instant ? new Intl.DateTimeFormat(this.locale, { dateStyle: "medium" }).format(new Date(instant)) : "—";
  }

  dateTime(instant: string | null | undefined): string {
    return instant
      ? new Intl.DateTimeFormat(this.locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(instant))
      : "—";
  }

  time(instant: string): string {
    return new Intl.DateTimeFormat(this.locale, { timeStyle: "short" }).format(new Date(instant));
  }

  /** "3 hours ago", "in 2 days", "now". Days are those of the calendar where the person is: "tomorrow" is tomorrow. */
  relative(instant: string | null | undefined, now = Date.now()): string {
    if (!instant) return "—";
    const seconds = (new Date(instant).getTime() - now) / 1000;
    const format = new Intl.RelativeTimeFormat(this.locale, { numeric: "auto" });
    for (const [unit, size] of UNITS) {
      if (Math.abs(seconds) < size) continue;
      const days = unit === "day" ? daysBetween(new Date(now), new Date(instant)) : 0;
      return format.format(days || Math.trunc(seconds / size), unit);
    }
    return format.format(0, "second");
  }

  /** "in 7 days". */
  ahead(amount: number, unit: Intl.RelativeTimeFormatUnit): string {
    return new Intl.RelativeTimeFormat(this.locale, { numeric: "always" }).format(amount, unit);
  }

  list(items: readonly string[]): string {
    return new Intl.ListFormat(this.locale, { type: "conjunction" }).format(items);
  }

  /** The last moment of a day (`2030-01-31`) where the person is, for the server; null for no day. */
  endOfDay(day: string): string | null {
    return day ? new Date(`${day}T23:59:59`).toISOString() : null;
  }

  /** The person's time zone, as they would call it. */
  get timeZone(): string {
    return new Intl.DateTimeFormat(this.locale).resolvedOptions().timeZone;
  }
}

/** Midnights from one moment to the other; a day of a changed clock is a day. */
function daysBetween(from: Date, to: Date): number {
  const midnight = (day: Date): number => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate());
  return (midnight(to) - midnight(from)) / 86_400_000;
}
