/** What the machines of a test are doing, according to their events. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { MachineEvent } from "../../guest/MachineEvent.ts"
import type { RunEvent } from "../RunEvent.ts"

interface Doing {
  /** With the machine: `running "uname" on web`, `starting web`. */
  readonly what: string
  /** Milliseconds since the epoch. */
  readonly since: number
}

export interface UnderWay {
  readonly hear: (event: RunEvent) => Effect.Effect<void>
  /** When the last event came, in milliseconds since the epoch; 0 before the first. */
  readonly heardAt: () => number
  /** A line for each action that has not ended, in the order in which they began: `running "sleep 100" on web for 3s`. */
  readonly lines: Effect.Effect<ReadonlyArray<string>>
}

const lasting = (millis: number) =>
  Duration.format(Duration.millis(millis < 1000 ? millis : Math.round(millis / 1000) * 1000))

/** A record without actions. */
export const make = (): UnderWay => {
  let doing: ReadonlyArray<Doing> = []
  let heardAt = 0

  const begin = (what: string, since: number) => {
    doing = [...doing, { what, since }]
  }
  const end = (what: string) => {
    const ended = doing.find((one) => one.what === what)
    doing = doing.filter((one) => one !== ended)
  }
  const note = (event: MachineEvent, now: number): void => {
    if (event._tag === "ActionStarted") begin(`${event.action} on ${event.machine}`, now)
    if (event._tag === "ActionEnded") end(`${event.action} on ${event.machine}`)
    if (event._tag !== "MachineState") return
    end(`starting ${event.machine}`)
    if (event.state === "booting") begin(`starting ${event.machine}`, now)
  }

  return {
    hear: (event) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (event._tag !== "TestSlow") heardAt = now
        if (event._tag === "MachineEvent") note(event.event, now)
      }),
    heardAt: () => heardAt,
    lines: Effect.map(Clock.currentTimeMillis, (now) =>
      doing.map(({ since, what }) => `${what} for ${lasting(now - since)}`)
    )
  }
}
