// Countdown's judge: an expression over given numbers, parsed (never evaluated by a language) in exact rationals.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "tasks/task.h"

namespace fathom {

// Grammar: sums and products of non-negative integers with + - * / and parentheses; blanks and tabs between; no sign in
// front of a number, no leading zeros, no implicit product; each given number exactly once. The first failing check names
// the reason, in this order: empty; too_long (over 1024 characters); characters from left to right (unicode_digit,
// illegal_character); tokens from left to right (syntax_error for a leading zero, exponent for **, floor_division for //);
// too_deep (over 64 levels), unary_sign, syntax_error; number_not_given; number_used_twice; unused_number;
// division_by_zero; too_large (a value beyond 128 bits); wrong_value. "ok" where the value is the target.
// numbers and target: decimal integers as text.
Verdict judge_expression(std::string_view expression, const std::vector<std::string>& numbers, std::string_view target);

}  // namespace fathom
