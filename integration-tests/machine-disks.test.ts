import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

class Box extends Machine<Box>()("box", { image: Image.tiny(), memory: "128 MiB", disks: ["64 MiB", "1 MiB"] }) {}

machines(Box)("a machine's own disks", (it) => {
  it.effect("have the sizes that were declared, and serial numbers", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const sizes = yield* box.succeed("cat /sys/block/vda/size /sys/block/vdb/size")
      assert.strictEqual(sizes, `${(64 * 1024 * 1024) / 512}\n${(1024 * 1024) / 512}\n`)
      assert.strictEqual(yield* box.succeed("cat /sys/block/vda/serial /sys/block/vdb/serial"), "disk1disk2")
    })
  )

  it.effect("keep what was written and flushed when the machine crashes, which keeps nothing else", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("touch /root/gone", "printf kept | dd of=/dev/vda bs=4 seek=1000 conv=fsync 2>/dev/null")
      yield* box.crash()
      yield* box.start()
      assert.strictEqual(yield* box.succeed("dd if=/dev/vda bs=4 skip=1000 count=1 2>/dev/null"), "kept")
      yield* box.fail("[ -e /root/gone ]")
    })
  )
})
