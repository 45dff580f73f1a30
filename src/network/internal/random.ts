/** Random numbers that a seed decides: sfc32, by Chris Doty-Humphrey, in the public domain (PractRand). */
import * as Digest from "../../host/Digest.ts"

/** Gives the next number, of at least 0 and below 1. */
export type Random = () => number

/** A whole number of 32 bits that follows from a seed, for programs that take one as a number. */
export const wordOf = (seed: string): number => Buffer.from(Digest.of(seed), "hex").readUInt32BE(0)

export const make = (seed: string | number): Random => {
  const words = Buffer.from(Digest.of(String(seed)), "hex")
  let [a, b, c, count] = [words.readUInt32BE(0), words.readUInt32BE(4), words.readUInt32BE(8), 1]
  return () => {
    const next = (((a + b) | 0) + count) | 0
    count = (count + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + next
    return (next >>> 0) / 2 ** 32
  }
}
