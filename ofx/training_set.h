// Handing the training pairs over to the worker: fetched from the host's clips, at full resolution, frame by
// frame.
#pragma once

#include "effect.h"

namespace copycat {

// Fetches the pairs, starts a new run and returns the worker's status of it. Shows the host's progress bar.
// Throws Cancelled when the user cancels (nothing is left behind then), else a sentence that says what is
// wrong.
Json start_training(Instance& instance, const Edit& edit);

}  // namespace copycat
