// The connection's thread: polls socket and error output, delivers answers, notices silence and death.
#include "connection.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "environment.h"
#include "message_frame.h"

namespace copycat {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLongestPoll{60000};

// For how long a worker that owes an answer may be silent.
seconds silence_patience() { return seconds_from("COPYCAT_SILENCE_SECONDS", 60); }

// For how long it may be silent while it imports: a cold Python and torch over a network disk take minutes.
seconds start_patience() { return seconds_from("COPYCAT_START_SECONDS", 300); }

// A thread with all signals blocked: the host's handlers run on the host's threads.
template <typename Work>
std::thread without_signals(const Work& work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  std::exception_ptr failure;
  try {
    thread = std::thread(work);
  } catch (...) {
    failure = std::current_exception();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure) std::rethrow_exception(failure);
  return thread;
}

// Sends some bytes, with a descriptor along with the first of them unless it is negative. As sendmsg.
ssize_t send_some(int socket, const char* bytes, std::size_t count, int descriptor) {
  iovec piece{const_cast<char*>(bytes), count};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
#ifdef MSG_NOSIGNAL
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
#else
  return sendmsg(socket, &message, MSG_DONTWAIT);
#endif
}

void silence_alarm(int alarm) {
  char bytes[64];
  while (read(alarm, bytes, sizeof bytes) > 0) {
  }
}

}  // namespace

Connection::Connection() : alarm_(open_pipe()) {
  for (const Descriptor* end : {&alarm_.first, &alarm_.second}) fcntl(end->number(), F_SETFL, O_NONBLOCK);
  try {
    thread_ = without_signals([this] { run(); });
  } catch (const std::system_error&) {
    throw std::runtime_error("the copycat worker cannot be served: this process can start no more threads");
  }
}

Connection::~Connection() {
  {
    std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  wake();
  thread_.join();
}

bool Connection::is_usable() {
  // The thread notices a death a moment later.
  const bool has_ended = process_.has_ended();
  std::lock_guard lock(mutex_);
  return loss_.empty() && !has_ended;
}

bool Connection::is_ready() {
  std::lock_guard lock(mutex_);
  return is_ready_ && loss_.empty();
}

void Connection::post(int id, Json request, std::shared_ptr<SharedMemory> memory, Reply& reply) {
  std::lock_guard lock(mutex_);
  if (!loss_.empty()) return;  // wait() returns at once, and result() says why
  if (pending_.empty()) {
    last_heard_ = Clock::now();
    activity_.reset();
  }
  pending_.emplace(id, &reply);
  const std::string kind = request["do"].text();
  reply.is_render = kind == "render" || kind == "preview";
  Outgoing outgoing;
  outgoing.id = id;
  outgoing.message = std::move(request);
  outgoing.message.set("id", id);
  outgoing.memory = std::move(memory);
  queue(std::move(outgoing));
}

void Connection::post_if_idle(int id, Json request) {
  std::lock_guard lock(mutex_);
  if (!is_ready_ || !outgoing_.empty()) return;
  Outgoing outgoing;
  outgoing.message = std::move(request);
  outgoing.message.set("id", id);
  queue(std::move(outgoing));
}

bool Connection::cancel(int id) {
  std::lock_guard lock(mutex_);
  const auto found = pending_.find(id);
  if (found == pending_.end() || !found->second->is_sent) {
    remove_unsent(id);
    return false;
  }
  Outgoing outgoing;
  outgoing.message = Json::object();
  outgoing.message.set("cancel", id);
  queue(std::move(outgoing));
  return true;
}

void Connection::withdraw(int id) {
  std::lock_guard lock(mutex_);
  pending_.erase(id);
  remove_unsent(id);
}

bool Connection::wait(const Reply& reply, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return reply.is_answered || !loss_.empty(); });
}

double Connection::progress(const Reply& reply) {
  std::lock_guard lock(mutex_);
  return reply.progress;
}

bool Connection::has_succeeded(const Reply& reply) {
  std::lock_guard lock(mutex_);
  return reply.is_answered && reply.answer.has("ok");
}

bool Connection::is_under_way(const Reply& reply) {
  std::lock_guard lock(mutex_);
  return reply.is_sent && !reply.is_answered;
}

Json Connection::result(const Reply& reply) {
  std::lock_guard lock(mutex_);
  if (!reply.is_answered) {
    const std::string sentence = loss_ + "; the next request starts a new one";
    if (is_ready_) throw WorkerLost(sentence);
    throw WorkerError(sentence);
  }
  if (reply.answer.has("error")) throw WorkerError(reply.answer["error"].text("the copycat worker failed"));
  return reply.answer["ok"];
}

// Under the mutex.
void Connection::queue(Outgoing outgoing) {
  if (!loss_.empty()) return;
  outgoing_.push_back(std::move(outgoing));
  wake();
}

// Under the mutex.
void Connection::remove_unsent(int id) {
  const auto is_unsent = [&](const Outgoing& outgoing) {
    return outgoing.id == id && outgoing.frame.empty();
  };
  outgoing_.erase(std::remove_if(outgoing_.begin(), outgoing_.end(), is_unsent), outgoing_.end());
}

void Connection::wake() {
  const char byte = 0;
  if (write(alarm_.second.number(), &byte, 1) < 0) return;  // full: it is about to wake anyway
}

// Under the mutex. For how long the worker may be silent.
seconds Connection::patience() const { return is_ready_ && is_warm_ ? silence_patience() : start_patience(); }

// Under the mutex. When to look at a silent worker: half-way, and at the end of the patience.
Connection::Clock::time_point Connection::next_look() const {
  if (is_ready_ && pending_.empty()) return Clock::time_point::max();
  return last_heard_ + (activity_ ? milliseconds{patience()} : milliseconds{patience()} / 2);
}

void Connection::run() {
  std::unique_lock lock(mutex_);
  while (!is_ending_ && loss_.empty()) {
    const bool writes = is_ready_ && !outgoing_.empty();
    const auto left = std::chrono::ceil<milliseconds>(next_look() - Clock::now());
    lock.unlock();
    const auto timeout = std::clamp(left, milliseconds{0}, kLongestPoll);
    pollfd polled[] = {{process_.socket(), static_cast<short>(writes ? POLLIN | POLLOUT : POLLIN), 0},
                       {alarm_.first.number(), POLLIN, 0},
                       {errors_are_open_ ? process_.errors() : -1, POLLIN, 0}};
    poll(polled, 3, static_cast<int>(timeout.count()));
    if (polled[2].revents) read_errors();
    if (polled[1].revents) silence_alarm(alarm_.first.number());
    if (polled[0].revents & ~POLLOUT) receive_messages();
    if (polled[0].revents & POLLOUT) write_messages();
    lock.lock();
    if (loss_.empty() && Clock::now() >= next_look()) watch_silence();
  }
}

void Connection::receive_messages() {
  char bytes[65536];
  const ssize_t count = recv(process_.socket(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
  std::unique_lock lock(mutex_);
  if (count <= 0) {
    read_errors();
    const std::string words = error_output_.last_line();
    lose((is_ready_ ? "the copycat worker has died" : "the copycat worker did not start") +
         (words.empty() ? "" : ": " + words));
    return;
  }
  last_heard_ = Clock::now();
  activity_.reset();
  received_.append(bytes, static_cast<std::size_t>(count));
  try {
    while (const std::optional<std::string> message = take_message(received_)) handle(Json::parse(*message));
  } catch (const std::exception& error) {
    lose(std::string("the copycat worker sent what is no message of copycat (") + error.what() + ")");
  }
  changed_.notify_all();
}

void Connection::read_errors() {
  char bytes[4096];
  for (;;) {
    const ssize_t count = read(process_.errors(), bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errors_are_open_ = false;
    if (count <= 0) return;
    error_output_.append({bytes, static_cast<std::size_t>(count)});
  }
}

void Connection::write_messages() {
  std::lock_guard lock(mutex_);
  while (!outgoing_.empty()) {
    Outgoing& first = outgoing_.front();
    if (first.frame.empty()) frame(first);
    const int descriptor = first.brings_memory && !first.sent ? first.memory->descriptor() : -1;
    const ssize_t count = send_some(process_.socket(), first.frame.data() + first.sent,
                                    first.frame.size() - first.sent, descriptor);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;  // the socket is full, or the worker has died, which reading finds out
    first.sent += static_cast<std::size_t>(count);
    if (first.sent == first.frame.size()) outgoing_.pop_front();
  }
}

// Under the mutex.
void Connection::frame(Outgoing& outgoing) {
  Json dropped = Json::array();
  for (auto it = mapped_buffers_.begin(); it != mapped_buffers_.end();) {
    const bool is_freed = it->second.expired();
    if (is_freed) dropped.append(it->first);
    it = is_freed ? mapped_buffers_.erase(it) : std::next(it);
  }
  if (!dropped.items().empty()) outgoing.message.set("drop", std::move(dropped));
  if (const SharedMemory* memory = outgoing.memory.get()) {
    Json described = Json::object();
    described.set("id", memory->id()).set("bytes", static_cast<double>(memory->bytes()));
    outgoing.message.set("buffer", std::move(described));
    outgoing.brings_memory = mapped_buffers_.emplace(memory->id(), outgoing.memory).second;
  }
  outgoing.frame = frame_message(outgoing.message.dump(), outgoing.brings_memory ? 1 : 0);
  if (const auto found = pending_.find(outgoing.id); found != pending_.end()) found->second->is_sent = true;
}

// One message of the worker. Under the mutex.
void Connection::handle(const Json& message) {
  if (message.has("hello")) {
    const Json& hello = message["hello"];
    const std::optional<int> protocol = hello["protocol"].integer();
    if (protocol != kProtocolVersion) {
      lose("the copycat worker (version " + hello["version"].text("unknown") + ") speaks protocol " +
           (protocol ? std::to_string(*protocol) : "unknown") + " and this plugin speaks " +
           std::to_string(kProtocolVersion) + ": run \"copycat ofx install\" with the copycat that you use");
      return;
    }
    is_ready_ = true;
    return;
  }
  if (message.has("alive")) return;
  const std::optional<int> id = message["id"].integer();
  const bool is_answer = message.has("ok") || message.has("error");
  if (!id || !(is_answer || message.has("progress"))) throw std::invalid_argument("neither hello nor answer");
  const auto found = pending_.find(*id);
  if (found == pending_.end()) return;  // nobody waits for it any more
  Reply& reply = *found->second;
  if (is_answer) {
    reply.answer = message;
    reply.is_answered = true;
    is_warm_ = is_warm_ || (reply.is_render && message.has("ok"));
    pending_.erase(found);
  } else {
    reply.progress = std::clamp(message["progress"].number(), 0.0, 1.0);
  }
}

// Under the mutex. Gives the worker up: requests that wait fail, and the next one starts another worker.
void Connection::lose(const std::string& reason) {
  if (!loss_.empty()) return;
  loss_ = reason;
  outgoing_.clear();
  pending_.clear();
  process_.kill();
  const std::string text = error_output_.text();
  if (!text.empty()) std::fprintf(stderr, "%s; it wrote:\n%s\n", reason.c_str(), text.c_str());
  changed_.notify_all();
}

// Under the mutex. A worker that imports from a slow disk may hold Python's lock, so that its heart cannot
// beat: one that has worked since the middle of its silence gets as much time again.
void Connection::watch_silence() {
  const Activity now = process_.activity().value_or(Activity{});
  if (!activity_) {
    activity_ = now;
    return;
  }
  if (has_worked(*activity_, now, patience() / 2.0)) {
    last_heard_ = Clock::now();
    activity_.reset();
    return;
  }
  const std::string duration = std::to_string(patience().count()) + " seconds";
  lose(is_ready_ ? "the copycat worker has been silent for " + duration
                 : "the copycat worker did not start within " + duration);
}

}  // namespace copycat
