// What the screen shows of a model's answer: thinking dimmed, the answer plain; without a terminal the tags themselves.
#pragma once
#include <string>
#include <string_view>

namespace fathom {

class ChatScreen {
 public:
  ChatScreen();
  bool terminal() const { return terminal_; }
  void show(bool thinking, std::string_view text);
  void end();                          // of the answer
  void note(const std::string& text);  // dimmed; nothing where stdout is no terminal
  void prompt(bool continued);         // nothing where stdout is no terminal
  void put(const std::string& text);

 private:
  enum class State { kStart, kThinking, kAnswer };
  void enter(State state);
  const bool terminal_, colour_;
  State state_ = State::kStart;
  bool fresh_ = true;  // nothing shown since the state began
};

// A model's text must not steer the terminal: no escape sequences, no other control characters but line break and tab.
std::string without_controls(std::string_view text);

}  // namespace fathom
