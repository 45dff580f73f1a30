/** The main job, `npm run demo`, once everything is set up and cached. On a fresh machine time the first run by hand. */
import { report, wallTime } from "./harness.ts"

report("demo", [
  {
    case: "npm run demo, images cached",
    value: wallTime("npm", ["run", "--silent", "demo"]) / 1000,
    unit: "s",
    goal: { of: "value", atMost: 60 }
  }
])
