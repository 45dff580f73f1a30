/**
 * What is sent for a command: the text of it, with its folder, environment and user, and how its input travels.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { quote } from "../../host/Quote.ts"
import type { ExecuteOptions } from "../Shell.ts"
import { CommandRejected, type ShellError } from "../ShellError.ts"
import { dedent, escape } from "./shellText.ts"
import * as Timeout from "./timeout.ts"

/** What is known of the guest's shell. */
export interface AgentShell {
  /** the folder of the agent in the guest */
  readonly folder: string
  readonly shell: "bash" | "sh"
  /** whether `set -o pipefail` works */
  readonly pipefail: boolean
}

/** How a command's input travels. */
export type Input =
  | { readonly mode: "n" }
  | { readonly mode: "b"; readonly line: string }
  | { readonly mode: "s"; readonly bytes: Uint8Array | Stream.Stream<Uint8Array> | undefined }

/** A command ready to be sent to a lane. */
export interface Request {
  readonly command: string
  /** how long it may run */
  readonly timeout: Duration.Duration
  /** the timeout that the caller gave; an earlier question to the guest may have used a part of it */
  readonly asked: Duration.Duration
  /** how long it may wait for a lane */
  readonly patience: Duration.Duration
  /** the text of the command, for the lane with this number */
  readonly text: (lane: number) => string
  /** what goes to a file in the guest first, because typing it would be slow */
  readonly spool: Buffer | undefined
  readonly input: Input
  /** marks a fault that the guest finds before the command runs */
  readonly fault: string
}

/** The longest command that is typed: a shell reads bytes one by one, at 2 to 3 µs each under emulation. */
const typed = 16 * 1024

/** Variables that a shell refuses to assign. */
const readonlyNames = new Set(["UID", "EUID", "PPID", "BASHOPTS", "BASH_VERSINFO", "SHELLOPTS"])

/** What a command can still wait for a lane after the guest was asked about its user: the lane of that must settle first. */
const leastPatience = Duration.seconds(1)

/** How a guest changes to another user, and what it took of the command's time to ask it. */
export interface ChangeUser {
  /** setpriv becomes the command, su stays its parent */
  readonly program: "setpriv" | "su"
  /** how long a lane was waited for */
  readonly waited: Duration.Duration
  /** how long it took the guest */
  readonly ran: Duration.Duration
}

/** The exit code of a command that the guest did not run, because it is going down or does not have the user or the folder. */
export const notRun = 125

/** Why the guest did not run a command that ended with {@link notRun}, if it said that. `nonce` is that of the command. */
export const refused = (
  machine: string,
  { command, fault }: Request,
  nonce: string,
  stderr: string,
  { cwd, user }: ExecuteOptions
): CommandRejected | undefined => {
  const what = new RegExp(`\\x1e(?:${fault}|${nonce}) (\\w+)`).exec(stderr)?.[1]
  const found = {
    reboot: ["Rebooting", "the guest is rebooting"],
    off: ["ShuttingDown", "the guest is shutting down"],
    user: ["UnknownUser", `the user ${user} does not exist`],
    cwd: ["MissingDirectory", `could not change to the folder "${cwd}"`],
    room: [
      "NoSpace",
      "the guest's /run (or wherever vmtest's folder is) is full, and a command of more than 16 KiB is first written there"
    ]
  } as const
  if (what === undefined || !Object.hasOwn(found, what)) return undefined
  const [reason, detail] = found[what as keyof typeof found]
  return new CommandRejected({ machine, command, reason, detail })
}

/** The timeout of a command without one of its own. */
export const defaultTimeout = Duration.minutes(15)

const input = (stdin: ExecuteOptions["stdin"], open: boolean): Input => {
  if (stdin === undefined) return open ? { mode: "s", bytes: undefined } : { mode: "n" }
  if (typeof stdin !== "string" && !(stdin instanceof Uint8Array)) return { mode: "s", bytes: stdin }
  const bytes = typeof stdin === "string" ? Buffer.from(stdin) : stdin
  if (bytes.length === 0) return { mode: "n" }
  const line = bytes.length <= typed ? escape(bytes) : undefined
  return line !== undefined && line.length <= typed ? { mode: "b", line } : { mode: "s", bytes }
}

/** Builds a request, or says what is wrong with it. `open` asks for an input that is written later. */
export const make = Effect.fnUntraced(function* (options: {
  readonly machine: string
  readonly guest: AgentShell
  readonly command: string
  readonly execute: ExecuteOptions
  readonly fault: string
  readonly open: boolean
  /** how the guest changes to another user; asked only where there is one */
  readonly changeUser: (timeout: Duration.Duration) => Effect.Effect<ChangeUser, ShellError>
}): Effect.fn.Return<Request, ShellError> {
  const { command, execute, fault, guest, machine } = options
  const reject = (reason: CommandRejected["reason"], detail: string) =>
    new CommandRejected({ machine, command, reason, detail })

  const timeout = yield* Timeout.timeout(execute.timeout ?? defaultTimeout, (detail) =>
    reject("InvalidTimeout", detail)
  )
  const patience = options.open ? Duration.min(timeout, defaultTimeout) : timeout
  const body = dedent(command)
  if (body === "") return yield* reject("InvalidCommand", "the command is empty")
  if (body.includes("\0"))
    return yield* reject("InvalidCommand", "a command must not contain a NUL byte; pass the bytes as stdin")

  const before: Array<string> = []
  const stop = (what: string) => `{ printf '\\036%s %s\\n' ${fault} ${what} >&2; exit ${notRun}; }`
  for (const [name, value] of Object.entries(execute.env ?? {})) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || readonlyNames.has(name)) {
      return yield* reject(
        "InvalidEnvironment",
        `${JSON.stringify(name)} is not a valid name for an environment variable`
      )
    }
    // What comes from JavaScript, `process.env` say, may hold undefined.
    if (typeof value !== "string") return yield* reject("InvalidEnvironment", `the value of ${name} must be a string`)
    if (value.includes("\0"))
      return yield* reject("InvalidEnvironment", `the value of ${name} must not contain a NUL byte`)
    before.push(`export ${name}=${quote(value)}`)
  }
  const { cwd, user } = execute
  if (cwd !== undefined) {
    if (cwd === "" || cwd.includes("\0"))
      return yield* reject("MissingDirectory", "cwd must not be empty or contain a NUL byte")
    // `cd -` and CDPATH would print, and a leading dash would be an option
    before.push(`CDPATH= cd -- ${quote(/^[-+]/.test(cwd) ? `./${cwd}` : cwd)} 2>/dev/null || ${stop("cwd")}`)
  }
  const spool = Buffer.byteLength(body) > typed ? Buffer.from(body + "\n") : undefined
  const file = (lane: number) => `${guest.folder}/${lane}/cmd`
  const kept = (lane: number) => `[ -s ${file(lane)} ] || ${stop("room")}\n`
  const head = before.length === 0 ? "" : before.join("\n") + "\n"

  if (user === undefined || user === "root") {
    return {
      command,
      timeout,
      asked: timeout,
      patience,
      text: (lane) => head + (spool === undefined ? body : `${kept(lane)}. ${file(lane)}`),
      spool,
      input: input(execute.stdin, options.open),
      fault
    }
  }
  if (!/^[A-Za-z_][A-Za-z0-9_.-]*\$?$/.test(user)) {
    return yield* reject("UnknownUser", `${JSON.stringify(user)} is not a valid user name`)
  }
  const name = quote(user)
  const change = yield* options.changeUser(timeout)
  const set = guest.pipefail ? "set -euo pipefail" : "set -eu"
  const who =
    // A shell knows the homes of users without a program; an unknown user's stays as it is written.
    `_vt_h=~${user}; case $_vt_h in '~'*) ${stop("user")} ;; esac\ncd -- "$_vt_h" 2>/dev/null || cd /\n`
  return {
    command,
    timeout: Duration.max(Duration.subtract(timeout, change.ran), Duration.millis(1)),
    asked: timeout,
    patience: Duration.max(Duration.subtract(patience, change.waited), Duration.min(patience, leastPatience)),
    text: (lane) => {
      // Another user can read no file of a lane, nor can others see what this one runs: it is given the file open.
      const open = spool === undefined ? "" : `${kept(lane)}exec 9<${file(lane)}\n`
      const run = spool === undefined ? body : '_vt_c=$(cat <&9)\nexec 9<&-\neval "$_vt_c"'
      const script = quote(`${set}\n${head}${run}`)
      return change.program === "setpriv"
        ? `${open}${who}export HOME="$_vt_h" USER=${name} LOGNAME=${name}\n` +
            `exec setpriv --reuid ${name} --regid "$(id -g ${name})" --init-groups -- ${guest.shell} -c ${script}`
        : // The guest's own shell inside: /bin/sh may be another, which does not know its options.
          `${open}${who}exec su -s /bin/sh ${name} -c ${quote(`exec ${guest.shell} -c ${script}`)}`
    },
    spool,
    input: input(execute.stdin, options.open),
    fault
  }
})
