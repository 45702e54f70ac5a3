// Fetching the training pairs from the host's clips at full resolution, and handing them over to the worker.
#pragma once

#include "effect.h"

namespace copycat {

// Fetches the pairs, starts a new run and returns the worker's status of it. Shows the host's progress bar.
// Throws Cancelled when the user cancels, else an exception with a sentence; nothing is left on disk then. On
// the thread and within the action of the button.
Json start_training(Instance& instance, const Edit& edit);

// Fetches the pairs and gives them to the active run, whose trainer takes in what is new, changed or gone. As
// start_training, but that the run and its frames stay as they are when something goes wrong.
Json update_training_frames(Instance& instance, const Edit& edit);

// Sends `request` for the active run's contact sheet and preview, with the frame of the Preview clip, if
// there is one: previews show it from then on. Throws like start_training.
Json update_pictures(Instance& instance, const Edit& edit, Json request);

}  // namespace copycat
