/** The kinds of options: what their values are read as, and what a wrong value is answered with. */
import * as ByteSize from "effect/ByteSize"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** An option that need not be given. */
export const undefinedOr = <A>(flag: Flag.Flag<A>): Flag.Flag<A | undefined> =>
  flag.pipe(Flag.optional, Flag.map(Option.getOrUndefined))

/** Milliseconds. */
export const duration = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("DURATION"),
    Flag.filterMap(
      (text) => Option.map(Duration.fromInput(text as Duration.Input), Duration.toMillis),
      () => `a duration such as "90 seconds" or "5 minutes"`
    )
  )

/** Bytes. */
export const size = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("SIZE"),
    Flag.filterMap(
      (text) => Option.map(ByteSize.fromInput(text as ByteSize.Input), Number),
      () => `a size such as "512 MiB" or "10 GiB"`
    )
  )

/** A whole number of at least 1, or of `least`. */
export const count = (name: string, least = 1) =>
  Flag.String(name).pipe(
    Flag.withMetavar("N"),
    Flag.filterMap(
      (text) => Option.some(Number(text)).pipe(Option.filter((number) => /^\d+$/.test(text) && number >= least)),
      () => `a whole number of at least ${least}`
    )
  )

/** A path, which must not be empty. */
export const path = (name: string, what: "file" | "folder") =>
  Flag.String(name).pipe(
    Flag.withMetavar(what.toUpperCase()),
    Flag.filter(
      (path) => path !== "",
      () => `a ${what}`
    )
  )

/** An option without a value. */
export const toggle = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDefault(false), Flag.withoutNegation, Flag.withDescription(description))

/** An option without a value, which `--no-<name>` takes back: undefined without either, so that a config file decides. */
export const choice = (name: string, description: string) =>
  undefinedOr(Flag.Boolean(name).pipe(Flag.withDescription(description)))

/** `--json` of subcommands that print. */
export const json = toggle("json", "Print JSON")
