// The way of a picture to the worker and back.
#include "apply_model.h"

namespace copycat {
namespace {

std::string joined(const Json& names) {
  std::string text;
  for (const Json& name : names.items()) text += (text.empty() ? "" : ", ") + name.text();
  return text;
}

}  // namespace

Json describe_picture(const PixelView& view) {
  Json picture = Json::object();
  picture.set("width", width(view.bounds)).set("height", height(view.bounds));
  picture.set("components", view.format.components_name()).set("depth", view.format.depth_name());
  return picture;
}

Json apply_model(Instance& instance, Json request, const HostImage& picture, const HostImage& output,
                 const RenderArguments& arguments) {
  const PixelView& from = picture.view();
  Buffer buffer(worker(), packed_bytes(from.bounds, from.format));
  const PixelView shared = top_down_view(buffer.data(), from.bounds, from.format);
  copy_pixels(from, shared, from.bounds);
  request.set("picture", describe_picture(shared)).set("frame", arguments.time);
  Json answer = worker()->ask(std::move(request), &buffer, instance.aborted());
  copy_or_clear(shared, output.view(), arguments.window, arguments.rows);
  if (answer.has("channels_in")) {
    std::lock_guard lock(instance.mutex);
    instance.channels = {joined(answer["channels_in"]), joined(answer["channels_out"])};
  }
  return answer;
}

}  // namespace copycat
