/** Sizes in messages. */
import * as ByteSize from "effect/ByteSize"

/** `1 GiB` */
export const size = (bytes: number): string => ByteSize.format(ByteSize.fromInputUnsafe(Math.floor(bytes)))
