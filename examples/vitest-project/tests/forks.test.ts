/** Each test on a fresh fork of a machine that was prepared once: nothing that a test does reaches another one. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Image } from "vmtest"
import { forks, Machine } from "vmtest/vitest"

class Store extends Machine<Store>()("store", { image: Image.tiny() }) {}

const count = Effect.flatMap(Store, (store) => store.succeed("ls /data | wc -l"))

forks(Store)(
  "a store with three files",
  (it) => {
    it.effect("can be emptied", () =>
      Effect.gen(function* () {
        const store = yield* Store
        yield* store.succeed("rm /data/*")
        assert.strictEqual(yield* count, "0\n")
      })
    )
    it.effect.each(["a", "b", "c"])("has the file %s", (name) =>
      Effect.gen(function* () {
        const store = yield* Store
        assert.strictEqual(yield* count, "3\n")
        yield* store.succeed(`test -e /data/${name}`)
      })
    )
  },
  { ready: Effect.flatMap(Store, (store) => store.succeed("mkdir /data && cd /data && touch a b c")) }
)
