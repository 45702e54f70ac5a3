// Tests of the plugin's parts that need no host: JSON, frames, error output, the worker's process, pixels.
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "error_output.h"
#include "image.h"
#include "json.h"
#include "message_frame.h"
#include "model_file.h"
#include "process_activity.h"
#include "worker_process.h"

namespace {

int g_checks = 0, g_failures = 0, g_kills = 0;

void check(bool right, const char* what) {
  ++g_checks;
  if (right) return;
  ++g_failures;
  std::printf("FAILED: %s\n", what);
}

template <typename Function>
bool throws(const Function& function) {
  try {
    function();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

using copycat::Json;

void test_json() {
  const std::string text =
      "{\"a\":[1,-2.5,1e+20,true,false,null],\"b\":{\"c\":\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\"}}";
  const Json value = Json::parse(text);
  check(value["a"].items().size() == 6 && value["a"].items()[1].number() == -2.5, "numbers are read");
  check(value["b"]["c"].text() == "\xC3\xA9\xF0\x9F\x98\x80\n\"\\", "escapes become UTF-8");
  check(Json::parse(value.dump()).dump() == value.dump(), "what is written reads back");
  check(value["nothing"]["more"].is_null(), "a missing member is null");
  for (const char* bad : {"", "{", "[1,", "{\"a\"}", "nul", "1 2", "\"\\u12", "{\"a\":1,}", "--"})
    check(throws([&] { Json::parse(bad); }), bad);
  check(throws([] { Json::parse(std::string(100000, '[')); }), "nesting has an end");
}

void test_whole_numbers() {
  check(Json::parse("-7").integer() == -7 && Json::parse("2147483647").integer() == 2147483647,
        "whole numbers are read");
  for (const char* other : {"0.5", "2147483648", "-2147483649", "1e300", "-1e300", "\"7\"", "null", "[7]"})
    check(!Json::parse(other).integer(), other);
}

void test_error_output() {
  copycat::ErrorOutput output;
  check(output.text().empty() && output.last_line().empty(), "no error output is empty");
  output.append("Traceback:\n  somewhere\nValueError: no\n\n \r\n");
  check(output.last_line() == "ValueError: no", "the last line is the last that is not empty");
  for (int i = 0; i < 10000; ++i) output.append("line " + std::to_string(i) + "\n");
  check(output.text().size() < 30000, "error output is bounded");
  check(output.text().rfind("Traceback:", 0) == 0, "its beginning is kept");
  check(output.text().find(" bytes left out]") != std::string::npos, "what is left out is counted");
  check(output.last_line() == "line 9999", "its end is kept");
  output.append(std::string(1 << 20, 'x'));
  check(output.last_line().size() <= 2000, "a line is bounded");
}

void test_a_process_is_killed_once_at_most() {
  setenv("COPYCAT_PYTHON", "/bin/true", 1);
  {
    copycat::WorkerProcess process;
    while (!process.has_ended()) usleep(1000);
    process.kill();
    check(process.has_ended(), "what has ended stays ended");
  }
  {
    copycat::WorkerProcess process;
    pid_t child = 0;
    while ((child = waitpid(-1, nullptr, 0)) < 0) {  // a host that waits for all children
    }
    process.kill();
    check(process.has_ended(), "a process that the host waited for has ended");
  }
  check(g_kills == 0, "a process that was waited for is never killed");
}

// Frames as bytes, the same file that the Python side reads.
void test_frames(const char* golden) {
  std::ifstream file(golden);
  int frames = 0;
  for (std::string json, hexadecimal; std::getline(file, json) && std::getline(file, hexadecimal); ++frames) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hexadecimal.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hexadecimal.substr(i, 2), nullptr, 16));
    const auto descriptors = static_cast<std::size_t>(static_cast<unsigned char>(bytes[4]));
    check(copycat::frame_message(json, descriptors) == bytes, "a frame is packed as the golden bytes");
    std::string received;
    for (std::size_t i = 0; i < bytes.size(); ++i) {  // byte by byte: nothing comes before it is whole
      received += bytes[i];
      const auto message = copycat::take_message(received);
      check(message.has_value() == (i + 1 == bytes.size()), "a message comes when it is whole");
      if (message) check(Json::parse(*message).dump() == Json::parse(json).dump(), "a frame is unpacked");
    }
  }
  check(frames >= 4, "there are golden frames");
  std::string nonsense(8, '\xFF');
  check(throws([&] { copycat::take_message(nonsense); }), "nonsense is refused");
}

// What the file says its header's length is may be a lie.
std::string model_file(const std::string& header, std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xFF);
  return bytes + header;
}

std::string header_about(const std::string& channels_in, const std::string& channels_out) {
  Json about = Json::object(), metadata = Json::object(), header = Json::object();
  about.set("channelsIn", Json::parse(channels_in)).set("channelsOut", Json::parse(channels_out));
  metadata.set("copycat", about.dump());
  return header.set("__metadata__", metadata).dump();
}

// The channels of a file with these bytes: "in -> out", or "refused".
std::string channels_of(const std::string& bytes) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("parts_test_" + std::to_string(getpid()) + ".cat");
  std::ofstream(path, std::ios::binary) << bytes;
  std::string found = "refused";
  try {
    if (const auto channels = copycat::read_channels(path)) found = channels->in + " -> " + channels->out;
  } catch (const std::runtime_error& error) {
    check(std::strstr(error.what(), path.c_str()) != nullptr, "a refusal names the file");
  }
  std::remove(path.c_str());
  return found;
}

void test_model_files() {
  const std::string good = header_about("[\"R\",\"G\"]", "[\"A\"]");
  const std::uint64_t length = good.size();
  check(channels_of(model_file(good, length)) == "R, G -> A", "channels are read");
  check(channels_of(model_file(good, length) + "weights") == "R, G -> A", "weights follow");
  for (const std::uint64_t lie : {std::uint64_t{0}, std::uint64_t{1}, length - 1, length + 1,
                                  std::uint64_t{100} << 20, ~std::uint64_t{0}, ~std::uint64_t{7}})
    check(channels_of(model_file(good, lie)) == "refused", "a length that lies is refused");
  for (std::size_t kept = 0; kept < 12; ++kept)
    check(channels_of(model_file(good, length).substr(0, kept)) == "refused", "a torn file is refused");
  for (const char* bad : {"[]", "null", "3", "{}", "[\"\"]", "[3]", "[[\"R\"]]", "\"R\""})
    check(channels_of(model_file(header_about(bad, "[\"A\"]"), header_about(bad, "[\"A\"]").size())) ==
              "refused",
          bad);
  std::string many = "[\"R\"";
  for (int i = 0; i < 5000; ++i) many += ",\"R\"";
  const std::string long_name = "[\"" + std::string(100000, 'R') + "\"]";
  for (const std::string& bad : {many + "]", long_name}) {
    const std::string header = header_about("[\"R\"]", bad);
    check(channels_of(model_file(header, header.size())) == "refused", "what no model has is refused");
  }
  const std::string deep(100000, '[');
  check(channels_of(model_file(deep, deep.size())) == "refused", "nesting has an end here too");
  std::uint32_t random = 12345;
  for (int i = 0; i < 2000; ++i) {  // any bytes at all: read or refused, nothing else
    std::string bytes = model_file(good, length);
    for (int j = 0; j <= i % 4; ++j) {
      random = random * 1664525u + 1013904223u;
      bytes[(random >> 8) % bytes.size()] = static_cast<char>(random >> 24);
    }
    channels_of(bytes);
  }
}

std::vector<float> pixels_through(copycat::Depth depth, const std::vector<float>& values) {
  using namespace copycat;
  const OfxRectI bounds{0, 0, static_cast<int>(values.size()), 1};
  const PixelFormat plain{Depth::float_, 1}, other{depth, 1};
  std::vector<float> back(values.size());
  std::vector<std::uint8_t> between(packed_bytes(bounds, other));
  auto* data = reinterpret_cast<std::uint8_t*>(const_cast<float*>(values.data()));
  const PixelView from{data, 0, bounds, plain}, middle = top_down_view(between.data(), bounds, other),
                                                to = top_down_view(back.data(), bounds, plain);
  copy_pixels(from, middle, bounds);
  copy_pixels(middle, to, bounds);
  return back;
}

void test_depths() {
  using copycat::Depth;
  std::vector<float> bytes, shorts;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<float>(i) / 255.0f);
  for (int i = 0; i < 65536; ++i) shorts.push_back(static_cast<float>(i) / 65535.0f);
  check(pixels_through(Depth::byte_, bytes) == bytes, "every byte survives");
  check(pixels_through(Depth::short_, shorts) == shorts, "every short survives");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> clamped = pixels_through(Depth::byte_, {-1, 2, nan});
  check(clamped == std::vector<float>({0, 1, 0}), "integers are clamped, NaN is 0");

  std::vector<std::uint16_t> halves(65536), back(65536);
  std::vector<float> floats(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  using namespace copycat;
  const OfxRectI bounds{0, 0, 65536, 1};
  const PixelView from = top_down_view(halves.data(), bounds, {Depth::half_, 1});
  const PixelView middle = top_down_view(floats.data(), bounds, {Depth::float_, 1});
  const PixelView to = top_down_view(back.data(), bounds, {Depth::half_, 1});
  copy_pixels(from, middle, bounds);
  copy_pixels(middle, to, bounds);
  bool same = true;
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const bool is_nan = (i & 0x7C00) == 0x7C00 && (i & 0x3FF);
    same = same && (is_nan ? (back[i] & 0x7C00) == 0x7C00 && (back[i] & 0x3FF) : back[i] == halves[i]);
  }
  check(same, "every half survives, NaN stays NaN");
  check(floats[0x3C00] == 1.0f && floats[1] == 0x1p-24f && floats[0x7BFF] == 65504.0f,
        "halves have their value");
  const std::vector<float> rounded =
      pixels_through(Depth::half_, {1.00048828125f, 1.00146484375f, 65520.0f, 1e-8f});
  check(rounded[0] == 1.0f && rounded[1] == 1.001953125f, "halves round to even");
  check(std::isinf(rounded[2]) && rounded[3] == 0.0f, "halves overflow and underflow");
}

void test_layouts() {
  using namespace copycat;
  const OfxRectI bounds{-3, 5, 4, 9}, window{-5, 4, 2, 8};
  const PixelFormat format{Depth::float_, 4};
  std::vector<float> source(7 * 4 * 4), packed(7 * 4 * 4);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i);
  const PixelView from = top_down_view(source.data(), bounds, format);
  copy_pixels(from, top_down_view(packed.data(), bounds, format), bounds);
  check(packed == source, "a copy between the same layouts is plain");

  std::FILE* file = std::tmpfile();
  std::vector<float> written(5 * 3 * 4);
  check(write_pixels(from, fileno(file), {-2, 5, 3, 8}), "pixels are written to a file");
  check(std::fread(written.data(), sizeof(float), 61, file) == 60, "packed, and no more");
  bool same = true;
  for (std::size_t i = 0; i < written.size(); ++i)
    same = same && written[i] == source[(1 + i / 20) * 28 + 4 + i % 20];
  check(same, "the top row first");
  std::fclose(file);
  check(!write_pixels(from, -1, bounds), "what cannot be written to is said so");

  constexpr std::size_t kStride = 12 * 16 + 24;
  std::vector<std::uint8_t> target(kStride * 6, 0xCD);
  const PixelView to{
      target.data() + kStride * 0, static_cast<std::ptrdiff_t>(kStride), {-6, 3, 6, 9}, format};
  copy_or_clear(from, to, window);
  float value;
  bool right = true;
  for (int y = 3; y < 9; ++y)
    for (int x = -6; x < 6; ++x) {
      std::memcpy(&value, to.at(x, y), sizeof value);
      const bool inside = x >= window.x1 && x < window.x2 && y >= window.y1 && y < window.y2;
      const bool covered = inside && x >= bounds.x1 && y >= bounds.y1;
      if (covered) right = right && value == source[static_cast<std::size_t>(((8 - y) * 7 + (x + 3)) * 4)];
      if (inside && !covered) right = right && value == 0;
      if (!inside) right = right && *to.at(x, y) == 0xCD;
    }
  check(right, "a window gets its pixels, black where there are none, and nothing else changes");

  std::vector<std::uint8_t> fields(7 * 4 * 16, 0xCD);
  const PixelView field = top_down_view(fields.data(), bounds, format);
  copy_pixels(from, field, bounds, Rows::even);
  check(*field.at(0, 5) == 0xCD && *field.at(0, 6) != 0xCD, "the lower field is the even rows");

  std::vector<std::uint8_t> alpha(7 * 4);
  copy_pixels(from, top_down_view(alpha.data(), bounds, {Depth::byte_, 1}), bounds);
  check(alpha[0] == 255, "alpha is taken where only alpha is wanted");
}

#ifdef __linux__
void test_activity() {
  using namespace copycat;
  const auto second = std::chrono::seconds(1);
  const auto before = activity_of(getpid());
  check(before && before->bytes_read > 0 && !before->waits_for_disk, "a process is looked at");
  std::ifstream zeros("/dev/zero");
  char bytes[100];
  zeros.read(bytes, sizeof bytes);
  check(has_worked(*before, *activity_of(getpid()), second), "who reads works");
  check(!has_worked(*before, *before, second), "who does nothing does not");
  Activity busy = *before, waiting = *before, paged = *before, blocked = *before;
  busy.cpu_seconds += 0.06;
  check(has_worked(*before, busy, second), "who computes works, on a busy machine too");
  waiting.cpu_seconds += 0.02;
  check(!has_worked(*before, waiting, second), "who waits for a lock does not");
  ++paged.page_ins;
  blocked.waits_for_disk = true;
  check(has_worked(*before, paged, second) && has_worked(*before, blocked, second),
        "who waits for a disk works");
  check(!activity_of(0x7FFFFFF0), "nobody is not looked at");
}
#endif

// What a worker may send and a disk may hold, with bytes changed: read or refused with an exception, nothing
// else. Until `seconds` are over.
void mutate(double seconds, unsigned seed) {
  std::mt19937 random(seed);
  const std::string about = header_about("[\"R\",\"G\"]", "[\"A\"]");
  const std::string answer =
      "{\"id\":7,\"ok\":{\"status\":\"r: step 3 \\u00e9\",\"channels_in\":[\"R\",\"G\"],\"failed\":false,"
      "\"loads\":1,\"seconds\":1.5e-3,\"none\":null}}";
  const std::string whole[] = {
      copycat::frame_message(answer, 0) + copycat::frame_message("{\"alive\":true}", 0),
      model_file(about, about.size()) + "weights"};
  constexpr const char* kPieces[] = {"[[[[",     "{\"a\":", "1e999", "-",   "\\ud800",
                                     "\xFF\xFE", "\"",      "\\",    "NaN", "9999999999"};
  long count = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (; std::chrono::steady_clock::now() < end; ++count) {
    std::string bytes = whole[count % 2];
    for (unsigned change = random() % 4 + 1; change > 0 && !bytes.empty(); --change) {
      const std::size_t at = random() % bytes.size();
      const unsigned how = random() % 4;
      if (how == 0) bytes[at] = static_cast<char>(random());
      if (how == 1) bytes.erase(at, random() % 16);
      if (how == 2) bytes.insert(at, kPieces[random() % std::size(kPieces)]);
      if (how == 3) bytes.insert(at, bytes.substr(0, at).substr(at > 30 ? at - 30 : 0));
    }
    if (count % 2) {
      channels_of(bytes);
      continue;
    }
    throws([&] {
      while (const auto message = copycat::take_message(bytes)) {
        const Json read = Json::parse(*message);
        check(Json::parse(read.dump()).dump() == read.dump(), "what is written reads back");
        static_cast<void>(read["id"].integer());
      }
    });
  }
  check(count > 0, "something was mutated");
  std::printf("%ld mutations of seed %u\n", count, seed);
}

}  // namespace

// In place of the C library's: counts, and kills nothing.
extern "C" int kill(pid_t, int) noexcept {
  ++g_kills;
  return 0;
}

int main(int count, char** arguments) {
  test_json();
  test_whole_numbers();
  test_error_output();
  test_a_process_is_killed_once_at_most();
#ifdef __linux__
  test_activity();
#endif
  test_frames(count > 1 ? arguments[1] : "golden_frames.txt");
  test_model_files();
  test_depths();
  test_layouts();
  mutate(count > 2 ? std::atof(arguments[2]) : 0.2,
         count > 3 ? static_cast<unsigned>(std::atol(arguments[3])) : 1);
  std::printf("%d checks, %d failed\n", g_checks, g_failures);
  return g_failures ? 1 : 0;
}
