#include "cli/chat_screen.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "cli/model_options.h"

namespace fathom {

ChatScreen::ChatScreen() : terminal_(isatty(STDOUT_FILENO) != 0), colour_(terminal_ && !std::getenv("NO_COLOR")) {}

void ChatScreen::show(bool thinking, std::string_view text) {
  enter(thinking ? State::kThinking : State::kAnswer);
  if (fresh_) {  // line breaks beside the tags are not shown twice
    const size_t at = text.find_first_not_of('\n');
    if (at == std::string_view::npos) return;
    text.remove_prefix(at);
    fresh_ = false;
  }
  put(terminal_ ? without_controls(text) : std::string(text));
}

void ChatScreen::end() {
  if (state_ == State::kThinking) put(colour_ ? "\x1b[0m" : "</think>");
  put("\n");
  state_ = State::kStart;
}

void ChatScreen::note(const std::string& text) {
  if (terminal_) put(colour_ ? "\x1b[2m" + text + "\x1b[0m\n" : text + "\n");
}

void ChatScreen::prompt(bool continued) {
  if (!terminal_) return;
  const std::string mark = continued ? ". " : "> ";
  put(colour_ ? "\x1b[1m" + mark + "\x1b[0m" : mark);
}

void ChatScreen::put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_stdout();
}

void ChatScreen::enter(State state) {
  if (state == state_) return;
  if (state == State::kThinking)
    put(colour_ ? "\x1b[2m" : "<think>");
  else if (state_ == State::kThinking)
    put(colour_ ? "\x1b[0m\n\n" : "</think>\n");
  state_ = state;
  fresh_ = true;
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) continue;
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {  // U+0080..U+009F
      ++i;
      continue;
    }
    out.push_back(static_cast<char>(c));
  }
  return out;
}

}  // namespace fathom
