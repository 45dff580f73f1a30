/**
 * The server that hands lanes out: a command asks it for an idle one and waits in its queue where none is.
 *
 * It has more lanes started when those that there are stay busy.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as GenServer from "../../actors/GenServer.ts"
import type * as Pid from "../../actors/Pid.ts"
import * as Process from "../../actors/Process.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import type { ShellNotReady } from "../ShellError.ts"
import type { TransportService } from "../Transport.ts"
import type { LaneEnd } from "./lane.ts"
import { isFull, type LaneTable, type Session } from "./session.ts"

/** The session with the guest ended while a command still waited for a lane of it. */
export interface SessionEnded {
  readonly _tag: "SessionEnded"
  readonly reason: string
}

/** A wait for a lane: what is given to it, and the session that was on when the wait began. */
export class Ticket {
  readonly given = Deferred.makeUnsafe<LaneEnd, ShellNotReady | SessionEnded>()
  lane: LaneEnd | undefined
  session: Session | undefined
}

/** A message that needs no answer. */
export class Note {
  readonly tell: (desk: Desk) => void
  private constructor(tell: (desk: Desk) => void) {
    this.tell = tell
  }
  /** A lane can be used. */
  static readonly free = (lane: LaneEnd): Note => new Note((desk) => desk.free(lane))
  /** A lane is gone. */
  static readonly lost = (lane: LaneEnd): Note => new Note((desk) => desk.lost(lane))
  /** Who has the ticket does not wait any more; a lane that was given to it goes to the next one. */
  static readonly leave = (ticket: Ticket): Note => new Note((desk) => desk.leave(ticket))
}

/** What the lane server understands. */
export const LaneProtocol = GenServer.protocol({
  /** An idle lane, or nothing: then the ticket is in the queue. */
  take: GenServer.Call<Ticket, LaneEnd | undefined>(),
  /** A session is on; more lanes are started where somebody waits. */
  begin: GenServer.Call<Session>(),
  /** The session that is on is over, for this reason. Answered when everything that was of it has been lost. */
  end: GenServer.Call<string>(),
  /** Everybody who waits gets an error. */
  fail: GenServer.Call<ShellNotReady>(),
  /** Starts lanes until there are so many. */
  reserve: GenServer.Call<number>()
})

/**
 * Milliseconds in which no lane becomes free before more are started: half of what the quickest start took, within these.
 *
 * Starting a lane costs a guest seven processes and three programs, so while short commands follow each other on the lanes there are,
 * waiting for the next is quicker; commands that stay are soon known by that.
 */
const stall = { least: 20, most: 400, unknown: 100 }

/** Lanes that start slow the others down: where enough start, more are started only after so many times as long. */
const besideStarting = 2

/**
 * When the server looks again whether a lane became free: after half of the time of the quickest start, from 20 to 400 ms; 100 ms before
 * the first. After 20 ms when more commands wait than there are lanes: those lanes would have to become free more than once.
 */
const growSchedule = (crowded: () => boolean, quickest: () => number): Schedule.Schedule<unknown, boolean> =>
  Schedule.forever.pipe(
    Schedule.setInputType<boolean>(),
    Schedule.modifyDelay(() =>
      Effect.sync(() => {
        if (crowded()) return stall.least
        const pause = Number.isFinite(quickest()) ? quickest() / 2 : stall.unknown
        return Math.min(Math.max(pause, stall.least), stall.most)
      })
    ),
    Schedule.while(({ input }) => !input)
  )

/** What the server needs. */
export interface LaneServerOptions {
  readonly transport: TransportService
  readonly table: LaneTable
  /** What the process of a lane runs. */
  readonly process: (number: number, current: Session, waiting: boolean) => Effect.Effect<void>
  /** How long the quickest start of a lane took, in milliseconds. */
  readonly quickest: () => number
}

/** Who waits and what is idle. */
class Desk {
  readonly idle: Array<LaneEnd> = []
  readonly queue = new Set<Ticket>()
  /** counts the lanes that became free */
  freed = 0
  growing = false
  private readonly options: LaneServerOptions

  constructor(options: LaneServerOptions) {
    this.options = options
  }

  free(lane: LaneEnd): void {
    // It may have been lost on its way here.
    if (lane.state !== "idle") return
    this.freed++
    const [ticket] = this.queue
    if (ticket === undefined) {
      this.idle.push(lane)
      return
    }
    this.queue.delete(ticket)
    this.count()
    ticket.lane = lane
    Deferred.doneUnsafe(ticket.given, Effect.succeed(lane))
  }

  /** A lane that is idle and was not lost meanwhile. */
  take(): LaneEnd | undefined {
    for (;;) {
      const lane = this.idle.shift()
      if (lane === undefined || lane.state === "idle") return lane
    }
  }

  lost(lane: LaneEnd): void {
    const at = this.idle.indexOf(lane)
    if (at !== -1) this.idle.splice(at, 1)
  }

  enqueue(ticket: Ticket): void {
    ticket.session = this.options.table.session
    this.queue.add(ticket)
    this.count()
  }

  leave(ticket: Ticket): void {
    if (this.queue.delete(ticket)) this.count()
    else if (ticket.lane !== undefined) this.free(ticket.lane)
  }

  /** Tells those who wait that they wait in vain; who hears of it may ask again at once, which is another wait. */
  fail(tickets: ReadonlyArray<Ticket>, error: ShellNotReady | SessionEnded): void {
    for (const ticket of tickets) this.queue.delete(ticket)
    this.count()
    for (const ticket of tickets) Deferred.doneUnsafe(ticket.given, Effect.fail(error))
  }

  /**
   * The session is over. First of all nobody is given its lanes: who hears of it may ask again at once. What waited for one of them
   * was asked of that guest as much as what ran on it; what waited for the guest goes on.
   */
  end(reason: string, now: number): void {
    const { table } = this.options
    const { lanes, session } = table
    if (session !== undefined) table.since = now
    table.session = undefined
    this.idle.length = 0
    for (const lane of lanes) lane.lose(reason)
    lanes.clear()
    if (session === undefined) return
    const loss = table.nextLoss
    table.nextLoss = Deferred.makeUnsafe()
    Deferred.doneUnsafe(loss, Effect.succeed(reason))
    const tickets = [...this.queue].filter((ticket) => ticket.session === session)
    this.fail(tickets, { _tag: "SessionEnded", reason })
  }

  /** Starts one more lane, if there may be one. */
  readonly grow: Effect.Effect<void> = Effect.suspend(() => {
    const { process, table, transport } = this.options
    const { session } = table
    if (session === undefined || isFull(session, transport)) return Effect.void
    const spare = session.spare.shift()
    const number = spare?.number ?? ++session.started
    const body = process(number, session, spare?.waiting === true)
    return DynamicSupervisor.startChild(session.supervisor, Supervisor.child(`lane ${number}`, body)).pipe(
      Effect.ignore
    )
  })

  /** Nothing is idle: a lane of a saved guest is woken for each command that waits, others are started when they are worth it. */
  readonly more: Effect.Effect<void> = Effect.suspend(() => {
    const { table, transport } = this.options
    const { session } = table
    if (session === undefined) return Effect.void
    // Each lane that a fork wakes costs it time, because it is code that an emulated processor translates again.
    const wanted = session.spare[0]?.waiting === true ? this.queue.size > table.preparing : session.started < 2
    if (wanted) return this.grow
    if (this.growing || isFull(session, transport)) return Effect.void
    this.growing = true
    return Effect.asVoid(Effect.forkIn(this.growOnStall(session), session.scope, { startImmediately: true }))
  })

  /** Starts more lanes for those who wait when none has become free for a while. */
  private growOnStall(session: Session): Effect.Effect<void> {
    const { quickest, table, transport } = this.options
    let stalls = 0
    let before = this.freed
    /** Whether there are enough. */
    const look = Effect.suspend((): Effect.Effect<boolean> => {
      if (this.idle.length > 0) return Effect.succeed(true)
      if (this.freed !== before) {
        before = this.freed
        stalls = 0
        return Effect.succeed(this.queue.size === 0)
      }
      const { starting } = table
      if (++stalls < (starting * 2 > this.queue.size ? besideStarting : 1)) return Effect.succeed(false)
      stalls = 0
      const wanted = Math.min(Math.max(this.queue.size, 1) - starting, transport.lanes)
      return Effect.as(
        Effect.forEach(Array.from({ length: Math.max(wanted, 0) }), () => this.grow, { discard: true }),
        false
      ).pipe(Effect.map(() => isFull(session, transport)))
    })
    const crowded = () => this.queue.size > session.started
    return Effect.scheduleFrom(look, false, growSchedule(crowded, quickest)).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          this.growing = false
        })
      ),
      Effect.asVoid
    )
  }

  /** Starts lanes until there are so many, those that wait in a saved guest included. */
  reserve(most: number): Effect.Effect<void> {
    const { table, transport } = this.options
    const { session } = table
    if (session === undefined) return Effect.void
    const wanted =
      Math.min(most, transport.lanes) - session.started + session.spare.filter(({ waiting }) => !waiting).length
    return Effect.forEach(Array.from({ length: Math.max(wanted, 0) }), () => this.grow, { discard: true })
  }

  private count(): void {
    this.options.table.waiting = this.queue.size
  }
}

/** The lane server. */
export const make = (options: LaneServerOptions, now: () => number) => {
  const { table } = options
  return GenServer.make(LaneProtocol, {
    label: "Lane server",
    init: () => GenServer.ok(new Desk(options)),
    handlers: {
      take: (ticket, desk) => {
        const lane = desk.take()
        ticket.lane = lane
        const answer = GenServer.reply(lane, desk)
        if (lane === undefined) desk.enqueue(ticket)
        return lane !== undefined && desk.idle.length > 0 ? answer : Effect.as(desk.more, answer)
      },
      begin: (session, desk) => {
        table.session = session
        const grown = Effect.andThen(desk.grow, desk.queue.size > 1 ? desk.more : Effect.void)
        return Effect.as(grown, GenServer.reply(undefined, desk))
      },
      end: (reason, desk) => {
        desk.end(reason, now())
        return GenServer.reply(undefined, desk)
      },
      fail: (error, desk) => {
        desk.fail([...desk.queue], error)
        return GenServer.reply(undefined, desk)
      },
      reserve: (most, desk) => Effect.as(desk.reserve(most), GenServer.reply(undefined, desk))
    },
    info: (message, desk) => {
      if (message instanceof Note) message.tell(desk)
      return GenServer.noReply(desk)
    }
  })
}

/** How the host's other parts speak to a lane server. */
export interface Client {
  /** Sends a request and waits until it is done. A server that is gone needs none. */
  readonly tell: <K extends "begin" | "end" | "fail" | "reserve">(
    tag: K,
    payload: GenServer.PayloadOf<(typeof LaneProtocol)[K]>
  ) => Effect.Effect<void>
  /** Sends without an Effect, from the callbacks of sockets. */
  readonly note: (note: Note) => void
}

export const client = (server: Pid.Pid<typeof LaneProtocol>): Client => ({
  tell: (tag, payload) =>
    Effect.ignore(
      GenServer.call(server, tag, payload as never, { timeout: "Infinity" }) as Effect.Effect<void, unknown>
    ),
  note: (note) => Process.sendUnsafe(server, note)
})
