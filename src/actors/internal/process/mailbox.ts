/**
 * Mailboxes, and what lies in them.
 */
import type * as ExitReason from "../../ExitReason.ts"
import type * as Pid from "../../Pid.ts"

/** An exit signal that a trapping process got as a message. */
export class ExitMessage {
  readonly _tag = "Exit"
  readonly from: Pid.Any | undefined
  readonly reason: ExitReason.ExitReason
  constructor(from: Pid.Any | undefined, reason: ExitReason.ExitReason) {
    this.from = from
    this.reason = reason
  }
}

/** What a mailbox holds: a chain of letters. Some carry more than a value. */
export interface Letter {
  nextLetter: Letter | undefined
}

export class Message implements Letter {
  nextLetter: Letter | undefined = undefined
  readonly value: unknown
  constructor(value: unknown) {
    this.value = value
  }
}

/** Letters in the order of their arrival. */
export abstract class Mailbox {
  firstLetter: Letter | undefined = undefined
  lastLetter: Letter | undefined = undefined
  /** How many letters lie here. */
  letters = 0
  /** How many ever came. */
  received = 0

  protected put(letter: Letter): void {
    if (this.lastLetter === undefined) this.firstLetter = letter
    else this.lastLetter.nextLetter = letter
    this.lastLetter = letter
    this.letters++
    this.received++
  }

  protected clear(): void {
    this.firstLetter = undefined
    this.lastLetter = undefined
    this.letters = 0
  }

  takeFirst(): Letter | undefined {
    const letter = this.firstLetter
    if (letter === undefined) return undefined
    this.firstLetter = letter.nextLetter
    if (this.firstLetter === undefined) this.lastLetter = undefined
    letter.nextLetter = undefined
    this.letters--
    return letter
  }

  /** Takes `letter` out of the middle; `before` is the one in front of it. */
  takeAfter(before: Letter | undefined, letter: Letter): void {
    if (before === undefined) this.firstLetter = letter.nextLetter
    else before.nextLetter = letter.nextLetter
    if (this.lastLetter === letter) this.lastLetter = before
    letter.nextLetter = undefined
    this.letters--
  }
}
