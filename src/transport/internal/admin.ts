/**
 * The dialogue with the guest's bootstrap shell: questions on one stream, each answered by a line with its token.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { quote } from "../../host/Quote.ts"
import type { Connection } from "../Connection.ts"
import type { TransportError } from "../ShellError.ts"
import { agent } from "./agent.ts"
import { nonce } from "./nonce.ts"
import type { AgentShell } from "./request.ts"

/** What a guest prints when its bootstrap shell starts: ours, and the NixOS backdoor's. */
const readyLines = ["vmtest: shell ready", "Spawning backdoor root shell..."]

/** The bootstrap shell did not answer in time, or its connection broke. */
export interface NoAnswer {
  readonly _tag: "NoAnswer"
  readonly reason: string
}

/** The dialogue with one bootstrap shell. */
export interface Admin {
  /** Whether it ever said anything. */
  readonly heard: () => boolean
  /** Waits until the shell answers, however often it must be asked. */
  readonly awake: Effect.Effect<void, TransportError>
  /** Types shell text; its answer is what the text left in `_vt_answer`. */
  readonly ask: (text: string, timeout: Duration.Input) => Effect.Effect<string, NoAnswer | TransportError>
  /**
   * Hears every line of this token, until the scope is left; one that begins with `end` with the base64 since the last `begin`.
   * Other output in the middle of that can be recognized, since base64 has no `_`.
   */
  readonly listen: (
    token: string,
    heard: (said: string, text: string) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Types shell text that nobody waits for. */
  readonly tell: (text: string) => Effect.Effect<void, TransportError>
}

/** Lines longer than this are no answer; the rest of one is dropped. */
const longestLine = 1024 * 1024

/** How often a shell is asked whether it is awake, until it answers. */
export const askAgain = Schedule.spaced("300 millis")

/** Opens the dialogue. `onReady` is called whenever the shell says that it started. */
export const make = (connection: Connection, onReady: () => void): Admin => {
  const waiting = new Map<string, Deferred.Deferred<string>>()
  const listeners = new Map<string, (said: string, text: string) => void>()
  let block: string | undefined
  let rest = ""
  let heard = false
  connection.onData((chunk) => {
    heard = true
    rest += chunk.toString("latin1")
    for (;;) {
      const end = rest.indexOf("\n")
      if (end === -1) break
      let line = rest.slice(0, end).trim()
      rest = rest.slice(end + 1)
      if (readyLines.some((ready) => line.endsWith(ready))) {
        onReady()
        continue
      }
      if (block !== undefined) {
        const text = /^[A-Za-z0-9+/=]*/.exec(line)?.[0] ?? ""
        block = block.length > longestLine ? undefined : block + text
        line = line.slice(text.length)
      }
      const [, token = "", answer = ""] = /^_vt_([0-9a-f]{32})(?: (.*))?$/.exec(line) ?? []
      const listener = listeners.get(token)
      if (listener !== undefined && answer === "begin") block = ""
      else if (listener !== undefined) {
        listener(answer, block ?? "")
        if (answer.startsWith("end ")) block = undefined
      }
      const asked = waiting.get(token)
      if (asked !== undefined) Deferred.doneUnsafe(asked, Effect.succeed(answer))
    }
    if (rest.length > longestLine) rest = rest.slice(-longestLine)
  })

  const expect = <A, E>(use: (token: string, answer: Effect.Effect<string>) => Effect.Effect<A, E>) =>
    Effect.flatMap(nonce, (token) => {
      const answer = Deferred.makeUnsafe<string>()
      waiting.set(token, answer)
      return use(token, Deferred.await(answer)).pipe(Effect.ensuring(Effect.sync(() => waiting.delete(token))))
    })

  return {
    heard: () => heard,
    // No quotes and a line break first: a shell may see any part of the first lines, and must not be left in a quote.
    awake: expect((token, answer) =>
      connection
        .write(`\necho _vt_${token}\n`)
        .pipe(Effect.repeat(askAgain), Effect.andThen(Effect.never), Effect.raceFirst(answer), Effect.asVoid)
    ),
    ask: (text, timeout) =>
      expect((token, answer) =>
        connection.write(`${text}\necho _vt_${token} $_vt_answer\n`).pipe(
          Effect.andThen(answer),
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () =>
              Effect.fail<NoAnswer>({
                _tag: "NoAnswer",
                reason: `the guest has not answered for ${Duration.format(Duration.fromInputUnsafe(timeout))}`
              })
          })
        )
      ),
    listen: (token, listener) =>
      Effect.acquireRelease(
        Effect.sync(() => listeners.set(token, listener)),
        () => Effect.sync(() => listeners.delete(token))
      ),
    tell: (text) => connection.write(`${text}\n`)
  }
}

/** What the guest says of itself, twice, since all that follows depends on it. */
const described = /^((?:\/run|\/dev\/shm|\/tmp)\/vmtest) (bash|sh)( pipefail)? = \1 \2(\3)$/

const readAgentShell = (said: string): AgentShell | undefined => {
  const [, folder, shell, pipefail] = described.exec(said) ?? []
  if (folder === undefined) return undefined
  return {
    folder,
    shell: shell === "bash" ? "bash" : "sh",
    pipefail: shell === "bash" || pipefail !== undefined
  }
}

/** How often the guest is asked again when what it said did not arrive whole. */
const installTries = 3

/**
 * Gives the guest its agent, and ends what an earlier one left running.
 *
 * Everything is typed before anything is answered, so it costs one round trip. `reboots` says that the guest may reboot, so that its commands look
 * whether it is shutting down.
 */
export const install = Effect.fnUntraced(function* (admin: Admin, session: string, lanes: number, reboots: boolean) {
  let said = ""
  const once = Effect.map(admin.ask(setup(session, lanes, reboots), "60 seconds"), (answer) => {
    said = answer
    return readAgentShell(answer)
  })
  const guest = yield* Effect.repeat(once, { times: installTries - 1, until: (found) => found !== undefined })
  if (guest !== undefined) return guest
  return yield* Effect.fail<NoAnswer>({
    _tag: "NoAnswer",
    reason: `the guest did not say where its agent is: ${JSON.stringify(said.slice(0, 200))}`
  })
})

/** The place is the one of an earlier session, else the first that can be written to and has room. */
const setup = (session: string, lanes: number, reboots: boolean): string => `_vt_a=
for _vt_x in /run /dev/shm /tmp; do if [ -s $_vt_x/vmtest/bash ]; then _vt_a=$_vt_x; fi; done
for _vt_x in $_vt_a /run /dev/shm /tmp; do _vt_d=$_vt_x/vmtest
if [ ! -d $_vt_d ]; then mkdir $_vt_d && chmod 711 $_vt_d || continue; fi
printf %s ${quote(agent)} >$_vt_d/bash && echo ${session} >$_vt_d/session && break
true >$_vt_d/bash; done 2>/dev/null
. $_vt_d/bash
for _vt_y in $_vt_lanes; do if [ -e $_vt_d/$_vt_y.lane ]; then _vt_stop $_vt_y; fi; done
_vt_x='${Array.from({ length: lanes }, (_, index) => index + 1).join(" ")}'
_vt_files $_vt_x
_vt_pipes $_vt_x
[ -e /dev/stdin ] || ln -s /proc/self/fd/0 /dev/stdin
[ -e /dev/stdout ] || ln -s /proc/self/fd/1 /dev/stdout
[ -e /dev/stderr ] || ln -s /proc/self/fd/2 /dev/stderr
_vt_ports
${reboots ? "echo 0 >$_vt_d/reboots" : "[ ! -e $_vt_d/reboots ] || rm $_vt_d/reboots"}
_vt_answer="$_vt_d $_vt_shell pipefail"
(set -o pipefail) 2>/dev/null || _vt_answer="$_vt_d $_vt_shell"
_vt_answer="$_vt_answer = $_vt_answer" _vt_guest=$_vt_answer`

/**
 * Takes over the agent of a guest that continues from a saved one: gives those of its `lanes` that wait for a command, and ends
 * the others with whatever ran in them. Undefined when the guest has no agent, or says nothing that makes sense.
 */
export const attach = Effect.fnUntraced(function* (admin: Admin, session: string, lanes: ReadonlyArray<number>) {
  const ask = (timeout: Duration.Input) =>
    admin.ask(
      `
_vt_answer=
if [ -n "$_vt_guest" ] && echo ${session} >$_vt_d/session; then _vt_attach ${lanes.join(" ")}; fi`,
      timeout
    )
  const said = yield* Effect.catchTag(ask("5 seconds"), "NoAnswer", () =>
    Effect.andThen(admin.awake, ask("30 seconds"))
  )
  const [description = "", waiting] = said.split(";")
  const guest = readAgentShell(description)
  if (guest === undefined || waiting === undefined) return undefined
  const found = waiting.trim().split(" ").map(Number)
  return { guest, waiting: lanes.filter((lane) => found.includes(lane)) }
})

/** Whether the guest still is the one that was given this session, or has rebooted since. */
export const sameSession = (admin: Admin, session: string, guest: AgentShell) =>
  admin
    .ask(
      `_vt_d=${guest.folder} _vt_answer=
if read -r _vt_answer <$_vt_d/session; then . $_vt_d/bash; [ ! -e $_vt_d/console ] || . $_vt_d/console; _vt_ports; fi 2>/dev/null`,
      "30 seconds"
    )
    .pipe(Effect.map((answer) => answer === session))
