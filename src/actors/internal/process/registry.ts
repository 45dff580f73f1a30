/**
 * A registry's tables: who is registered under which key, and which keys a process holds.
 *
 * They are read and written by the caller, in its own turn, as Elixir's are through ETS; the registry's process only owns
 * them. A dead owner's entries are removed in the moment of its death, before anybody else gets a turn.
 */
import * as MutableHashMap from "effect/MutableHashMap"
import * as Semaphore from "effect/Semaphore"
import { MessageLoop, type Work } from "./loop.ts"
import { Message } from "./mailbox.ts"
import { link, type ProcessImpl, unlink } from "./process.ts"
import { Watcher } from "./watcher.ts"

/** One registration. Replaced, never changed, so that it can be handed out. */
export interface Entry {
  readonly key: unknown
  readonly pid: ProcessImpl
  readonly value: unknown
}

/** A map whose object keys are equal when their contents are, at the price of a native Map for the others. */
class KeyMap<A> {
  private readonly simple = new Map<unknown, A>()
  private readonly structured = MutableHashMap.empty<unknown, A>()

  get(key: unknown): A | undefined {
    if (typeof key !== "object" || key === null) return this.simple.get(key)
    const found = MutableHashMap.get(this.structured, key)
    return found._tag === "Some" ? found.value : undefined
  }

  set(key: unknown, value: A): void {
    if (typeof key !== "object" || key === null) this.simple.set(key, value)
    else MutableHashMap.set(this.structured, key, value)
  }

  delete(key: unknown): void {
    if (typeof key !== "object" || key === null) this.simple.delete(key)
    else MutableHashMap.remove(this.structured, key)
  }

  *values(): Iterable<A> {
    yield* this.simple.values()
    yield* MutableHashMap.values(this.structured)
  }
}

/** The entries of one process. */
class Owner extends Watcher {
  readonly entries = new Set<Entry>()
  readonly process: ProcessImpl
  private readonly table: RegistryLoop
  constructor(process: ProcessImpl, table: RegistryLoop) {
    super()
    this.process = process
    this.table = table
  }
  fire() {}
  down() {
    this.table.forget(this)
  }
}

/** Between a process's death and the news of it, others may already look. */
const isAlive = (entry: Entry): boolean => entry.pid.reason === undefined

interface Lock {
  readonly semaphore: Semaphore.Semaphore
  users: number
}

export interface RegistryOptions {
  readonly name: string
  readonly keys: "unique" | "duplicate"
  readonly listeners: ReadonlyArray<string>
  readonly meta: Readonly<Record<string, unknown>>
}

/** What listeners are told; made by the public module. */
export interface News {
  readonly registered: (entry: Entry) => unknown
  readonly unregistered: (key: unknown, pid: ProcessImpl) => unknown
}

export class RegistryLoop extends MessageLoop {
  readonly state = undefined
  readonly options: RegistryOptions
  readonly meta: Map<string, unknown>
  size = 0
  /** One entry a key. */
  private readonly unique = new KeyMap<Entry>()
  /** The entries of a key in the order in which they were made. */
  private readonly duplicate = new KeyMap<Set<Entry>>()
  private readonly owners = new Map<ProcessImpl, Owner>()
  private readonly locks = new KeyMap<Lock>()
  private readonly news: News

  constructor(process: ProcessImpl, options: RegistryOptions, news: News) {
    super(process)
    this.options = options
    this.news = news
    this.meta = new Map(Object.entries(options.meta))
  }

  /** Exits of owners and stray messages: nothing to do. */
  protected handle(): Work {
    return undefined
  }

  protected terminate(): Work {
    return undefined
  }

  // --------------------------------------------------------------- reading

  lookup(key: unknown): ReadonlyArray<Entry> {
    if (this.options.keys === "duplicate") {
      const found = this.duplicate.get(key)
      return found === undefined ? [] : [...found].filter(isAlive)
    }
    const found = this.unique.get(key)
    return found === undefined || !isAlive(found) ? [] : [found]
  }

  whereis(key: unknown): ProcessImpl | undefined {
    const found = this.unique.get(key)
    return found === undefined || !isAlive(found) ? undefined : found.pid
  }

  ownedBy(pid: ProcessImpl): ReadonlyArray<Entry> {
    const owner = this.owners.get(pid)
    return owner === undefined ? [] : [...owner.entries]
  }

  /** What a process has under a key. */
  held(key: unknown, pid: ProcessImpl): ReadonlyArray<Entry> {
    const owner = this.owners.get(pid)
    return owner === undefined ? [] : this.entriesOf(key, owner)
  }

  *all(): Iterable<Entry> {
    if (this.options.keys === "unique") yield* this.unique.values()
    else for (const entries of this.duplicate.values()) yield* entries
  }

  // --------------------------------------------------------------- writing

  /** Makes an entry; the answer is who holds the unique key already. */
  register(key: unknown, pid: ProcessImpl, value: unknown): ProcessImpl | undefined {
    if (this.options.keys === "unique") {
      const held = this.unique.get(key)
      if (held !== undefined && isAlive(held)) return held.pid
      if (held !== undefined) this.forget(this.owners.get(held.pid))
    }
    const entry: Entry = { key, pid, value }
    let owner = this.owners.get(pid)
    if (owner === undefined) {
      owner = new Owner(pid, this)
      this.owners.set(pid, owner)
      pid.watch(owner)
      link(this.process, pid)
    }
    owner.entries.add(entry)
    this.insert(entry)
    this.size++
    this.tell(() => this.news.registered(entry))
    return undefined
  }

  /** Removes the entries of a process under a key that `which` accepts. */
  unregister(key: unknown, pid: ProcessImpl, which: (value: unknown) => boolean): void {
    const owner = this.owners.get(pid)
    const mine = owner === undefined ? [] : this.entriesOf(key, owner)
    const removed = mine.filter((entry) => which(entry.value))
    if (owner !== undefined) {
      for (const entry of removed) {
        owner.entries.delete(entry)
        this.remove(entry)
      }
      if (owner.entries.size === 0) this.release(owner)
    }
    if (removed.length === mine.length) this.tell(() => this.news.unregistered(key, pid))
  }

  /** Replaces the value of a unique key; the caller makes sure that the entry is its own. */
  replace(entry: Entry, value: unknown): void {
    const replaced = { ...entry, value }
    const entries = this.owners.get(entry.pid)?.entries
    entries?.delete(entry)
    entries?.add(replaced)
    this.unique.set(entry.key, replaced)
  }

  /** A process is dead: so are its entries. */
  forget(owner: Owner | undefined): void {
    if (owner === undefined) return
    owner.unwatch()
    this.owners.delete(owner.process)
    for (const entry of owner.entries) this.remove(entry)
  }

  /** The registry ends: nobody is watched any more. */
  close(): void {
    for (const owner of this.owners.values()) owner.unwatch()
  }

  /** The entries of one process under one key: looks through those of the process or those of the key, whichever has fewer. */
  private entriesOf(key: unknown, owner: Owner): ReadonlyArray<Entry> {
    if (this.options.keys === "unique") {
      const found = this.unique.get(key)
      return found?.pid === owner.process ? [found] : []
    }
    const all = this.duplicate.get(key)
    if (all === undefined) return []
    return owner.entries.size < all.size
      ? [...owner.entries].filter((entry) => all.has(entry))
      : [...all].filter((entry) => entry.pid === owner.process)
  }

  private insert(entry: Entry): void {
    if (this.options.keys === "unique") {
      this.unique.set(entry.key, entry)
      return
    }
    const entries = this.duplicate.get(entry.key)
    if (entries === undefined) this.duplicate.set(entry.key, new Set([entry]))
    else entries.add(entry)
  }

  private remove(entry: Entry): void {
    this.size--
    if (this.options.keys === "unique") {
      this.unique.delete(entry.key)
      return
    }
    const entries = this.duplicate.get(entry.key)
    entries?.delete(entry)
    if (entries?.size === 0) this.duplicate.delete(entry.key)
  }

  private release(owner: Owner): void {
    this.owners.delete(owner.process)
    owner.unwatch()
    // The one who started the registry stays linked to it whatever it registers.
    if (this.process.parent !== owner.process) unlink(this.process, owner.process)
  }

  private tell(message: () => unknown): void {
    for (const listener of this.options.listeners) {
      this.process.system.names.get(listener)?.deliver(new Message(message()))
    }
  }

  // --------------------------------------------------------------- locks

  /** The lock of a key, kept while somebody holds it or waits for it. */
  enter(key: unknown): Semaphore.Semaphore {
    let lock = this.locks.get(key)
    if (lock === undefined) {
      lock = { semaphore: Semaphore.makeUnsafe(1), users: 0 }
      this.locks.set(key, lock)
    }
    lock.users++
    return lock.semaphore
  }

  leave(key: unknown): void {
    const lock = this.locks.get(key)
    if (lock !== undefined && --lock.users === 0) this.locks.delete(key)
  }
}
