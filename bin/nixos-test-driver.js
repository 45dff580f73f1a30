#!/usr/bin/env -S node --min-semi-space-size=16
// Node begins with room for 1 MiB of new objects, and collects garbage a dozen times while the modules load: a tenth of the time until a machine starts.
import { launch } from "./launch.js"

launch("nixos-test-driver", "nixos/nixos-test-driver.js")
