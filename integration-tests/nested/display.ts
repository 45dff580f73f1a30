/** A machine whose hypervisor has no display: its own screen, keyboard and pointer are those of the X server in its guest. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { Image, test } from "vmtest"
import { desk } from "./desk.ts"
import { backend } from "./place.ts"

const timeout = "4 minutes"

/** Width and height of a picture, from the first chunk of the file. */
const sizeOf = (png: Buffer) => [png.readUInt32BE(16), png.readUInt32BE(20)]

export default test(
  `${backend}: a guest with X`,
  {
    machines: { box: { image: Image.debian(desk), memory: "768 MiB", vlans: [], snapshot: false } },
    timeout: "30 minutes"
  },
  ({ box }, driver) =>
    Effect.gen(function* () {
      yield* box.waitForX({ timeout })
      yield* box.succeed(
        "systemd-run --unit=term --quiet --setenv=DISPLAY=:0 --setenv=LC_ALL=C.UTF-8 " +
          "xterm -T 'first window' -fa DejaVuSansMono -fs 14 -geometry 50x14+0+0 -e bash --norc"
      )
      assert.equal(yield* box.waitForWindow(/^first/, { timeout }), "first window")
      yield* driver.subtest(
        "is typed at, and read",
        Effect.gen(function* () {
          // Before its prompt, a shell loses what is typed.
          yield* box.waitForText(/bash-/, { timeout })
          yield* box.sendChars("clear; echo Hello from the terminal >/tmp/typed; cat /tmp/typed\n")
          yield* box.waitForText(/Hello from the terminal/, { timeout })
          assert.equal(yield* box.succeed("cat /tmp/typed"), "Hello from the terminal\n")
        })
      )
      yield* driver.subtest(
        "is seen, and is like a picture of it",
        Effect.gen(function* () {
          const picture = yield* box.screenshot("desk")
          assert.deepEqual(sizeOf(readFileSync(picture)), [640, 400])
          yield* box.waitForImage(picture, { timeout })
        })
      )
      yield* driver.subtest(
        "is pointed at",
        Effect.gen(function* () {
          const [found] = yield* box.findText("Hello")
          assert.ok(found !== undefined)
          yield* box.clickText("Hello", { timeout })
          const said = yield* box.succeed("DISPLAY=:0 xdotool getmouselocation")
          const [, x, y] = /x:(\d+) y:(\d+)/.exec(said) ?? []
          const { height, width, x: left, y: top } = found.box
          assert.ok(
            Number(x) >= left && Number(x) <= left + width && Number(y) >= top && Number(y) <= top + height,
            said
          )
        })
      )
    })
)
