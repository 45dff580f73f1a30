/**
 * The log in XML that the NixOS test driver writes to the file in `LOGFILE`.
 *
 * The root is `logfile`. A `line` is a line, with the name of its `machine` if it is of one, and `type="serial"` if its console said it. A `nest` has a
 * `head`, and what happened until that was finished.
 *
 * **Example** (A log of a run)
 *
 * ```ts
 * const program = XmlLog.logged("log.xml")(Runner.run(tests, options))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Failure from "../driver/Failure.ts"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import type { MachineEvent } from "../guest/MachineEvent.ts"
import * as Disk from "../host/Disk.ts"
import * as Xml from "../host/Xml.ts"

/** The file of a log cannot be written. */
export class LogUnwritable extends Schema.TaggedError<LogUnwritable>()("LogUnwritable", {
  /** what named the file: `LOGFILE` */
  setting: Schema.String,
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.setting}: could not write ${this.file}: ${this.reason}`
  }
}

interface Nest {
  readonly key: string
  readonly head: string
  readonly since: number
  ended: boolean
}

const inSeconds = (millis: number) => (millis / 1000).toFixed(2)

/** What gets the events of a run, and writes the log piece by piece. */
export const make = (write: (text: string) => void) => {
  const nests: Array<Nest> = []
  const line = (text: string, attributes: Xml.Attributes = {}) => write(Xml.element("line", attributes, Xml.text(text)))
  const begin = (key: string, head: string, since: number, attributes: Xml.Attributes = {}) => {
    write(`${Xml.open("nest")}${Xml.element("head", attributes, Xml.text(head))}`)
    nests.push({ key, head, since, ended: false })
  }
  /** What happens at once overlaps, which elements cannot: one ends when those that began in it have ended. */
  const end = (key: string, now: number) => {
    const nest = nests.findLast((one) => one.key === key && !one.ended)
    if (nest === undefined) return
    nest.ended = true
    line(`(finished: ${nest.head}, in ${inSeconds(now - nest.since)} seconds)`)
    while (nests.at(-1)?.ended === true) {
      nests.pop()
      write(Xml.close("nest"))
    }
  }
  const hearMachine = (event: MachineEvent, now: number): void => {
    const { machine } = event
    switch (event._tag) {
      case "ConsoleLine":
        line(event.line, { machine, type: "serial" })
        break
      case "MachineState":
        line(event.detail === "" ? event.state : `${event.state}: ${event.detail}`, { machine })
        break
      case "StillBooting":
        line(event.detail, { machine })
        break
      case "ActionStarted":
        begin(`${machine}\n${event.action}`, event.action, now, { machine })
        break
      case "ActionEnded":
        if (event.outcome !== "") line(event.outcome, { machine })
        end(`${machine}\n${event.action}`, now)
        break
      case "Picture":
        break
    }
  }
  const subtestKey = (within: ReadonlyArray<string>, name: string) => `subtest\n${[...within, name].join("\n")}`
  return {
    begin: () => write(`<?xml version="1.0" encoding="utf-8"?>\n${Xml.open("logfile")}`),
    hear: (event: RunEvent, now: number): void => {
      switch (event._tag) {
        case "ImageProgress":
        case "Log":
          line(event.line)
          break
        case "TestStarted":
          begin("test", "run the VM test script", now)
          break
        case "MachineEvent":
          hearMachine(event.event, now)
          break
        case "SubtestStarted":
          begin(subtestKey(event.within, event.subtest), `subtest: ${event.subtest}`, now)
          break
        case "SubtestEnded": {
          const { failure, name, within } = event.result
          if (failure !== undefined) line(`Test "${name}" failed with error: "${Failure.headline(failure)}"`)
          end(subtestKey(within, name), now)
          break
        }
        case "TestEnded":
          if (event.result.failure !== undefined) line(Failure.render(event.result.failure))
          end("test", now)
          break
        case "ProcessChange":
        case "Traffic":
          break
      }
    },
    end: () =>
      write(
        `${nests
          .splice(0)
          .map(() => Xml.close("nest"))
          .join("")}${Xml.close("logfile")}\n`
      )
  }
}

/** Runs an effect with a log in a file, which is complete when it ends, however it ends. Fails before that if the file cannot be written. */
export const logged =
  (file: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const fd = yield* Effect.acquireRelease(
        Disk.attempt(
          () => Fs.openSync(file, "w"),
          (reason) => new LogUnwritable({ setting: "LOGFILE", file, reason })
        ),
        (opened) => Effect.sync(() => Fs.closeSync(opened))
      )
      let lost = false
      const log = make((text) => {
        // A disk that is full does not end the test.
        if (lost) return
        lost = !Disk.works(() => void Fs.writeSync(fd, text))
      })
      yield* Effect.acquireRelease(Effect.sync(log.begin), () => Effect.sync(log.end))
      return yield* Effect.updateService(
        effect,
        Reporter,
        (report) => (event) =>
          Effect.andThen(
            Effect.map(Clock.currentTimeMillis, (now) => log.hear(event, now)),
            report(event)
          )
      )
    }).pipe(Effect.scoped)
