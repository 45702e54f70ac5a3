// Sending a picture through the worker: one copy in, one copy out.
#pragma once

#include "effect.h"

namespace copycat {

// Fills the window of `output` with what the request makes of `picture`: the worker changes the shared
// picture in place. Outside of the picture the window becomes transparent black. Returns the worker's answer.
Json apply_model(Instance& instance, Json request, const HostImage& picture, const HostImage& output,
                 const RenderArguments& arguments);

// How a picture in shared memory is described to the worker.
Json describe_picture(const PixelView& view);

}  // namespace copycat
