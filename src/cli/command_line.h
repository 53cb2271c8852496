// The command line of a command or a subcommand: options bound to variables, parsing, help. It hides CLI11, whose headers cost
// each file that includes them seconds to compile: command_line.cpp is the only one that does.
#pragma once
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace fathom {

// A handle to an option, to say more of it: add_option(…).range(1, 9).show_default(). Valid as long as its CommandLine.
class Option {
 public:
  Option() = default;  // of no option
  explicit Option(CLI::Option* option) : option_(option) {}

  Option required() const;
  template <std::integral Low, std::integral High>
  Option range(Low low, High high) const {
    return whole_range(static_cast<int64_t>(low), static_cast<int64_t>(high));
  }
  Option range(double low, double high) const;
  Option one_of(const std::vector<std::string>& values) const;
  Option delimiter(char between) const;  // of a list's values in one argument
  Option needs(Option other) const;
  Option excludes(Option other) const;
  Option excludes(const std::string& name) const;  // of an option that was added to the same CommandLine
  Option show_default() const;                     // in the help: the variable's value as it is now
  Option show_default(const std::string& text) const;
  bool given() const;  // after parsing

 private:
  Option whole_range(int64_t low, int64_t high) const;
  CLI::Option* option_ = nullptr;
};

class CommandLine {
 public:
  // `name` as the usage line shows it: "fathom info".
  CommandLine(const std::string& help, const std::string& name);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // `names`: "--out,-o", or one word without dashes for a positional argument. The value is written into the variable, which
  // keeps its own where the option is not given, and which must outlive this.
  Option add_option(const std::string& names, std::string& value, const std::string& help);
  Option add_option(const std::string& names, int& value, const std::string& help);
  Option add_option(const std::string& names, int64_t& value, const std::string& help);
  Option add_option(const std::string& names, uint64_t& value, const std::string& help);
  Option add_option(const std::string& names, float& value, const std::string& help);
  Option add_option(const std::string& names, double& value, const std::string& help);
  Option add_option(const std::string& names, std::vector<std::string>& values, const std::string& help);
  Option add_option(const std::string& names, std::vector<int64_t>& values, const std::string& help);
  Option add_flag(const std::string& names, bool& value, const std::string& help);
  // The same with a function that takes the value.
  Option add_text_function(const std::string& names, std::function<void(const std::string&)> take, const std::string& help);
  Option add_integer_function(const std::string& names, std::function<void(int64_t)> take, const std::string& help);
  Option add_number_function(const std::string& names, std::function<void(double)> take, const std::string& help);

  CommandLine& add_subcommand(const std::string& name, const std::string& help);
  void require_subcommand();  // exactly one
  void fallthrough();         // of a subcommand: options of the command may stand behind it too
  void footer(const std::string& text);

  // Prints help to stdout or a usage error to stderr: the exit code then, for nothing is left to do.
  std::optional<int> parse(int argc, char** argv);
  bool parsed() const;  // whether this subcommand was given

 private:
  explicit CommandLine(CLI::App& subcommand);

  std::unique_ptr<CLI::App> owned_;  // none in a subcommand: its command owns it
  CLI::App& app_;
  std::vector<std::unique_ptr<CommandLine>> subcommands_;
};

}  // namespace fathom
