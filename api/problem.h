/* api/problem.h - RFC 9457 problem details as text */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

#include "api/api.h"

#define PROBLEM_TYPE "application/problem+json"

/* What to try when nothing better is known. */
#define PROBLEM_NEXT_HEALTH "see GET /v1/health, then try again"

/* JSON text that ends in a newline, for free(); NULL if memory is short. */
char *problem_text(const struct api_problem *problem);

/* The title of a problem that has none: "Not Found". */
const char *problem_title(const struct api_problem *problem);

#endif
