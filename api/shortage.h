/* api/shortage.h - whether an answer may lack what there was no memory for
 *
 * jansson's setters say so with a return value, and a view has fifty of them: a field that could not be made
 * would just not be there. So each allocation that fails on the way to an answer is counted, jansson's where
 * it fails, and whoever makes JSON, or reads it, looks once, at the end.
 */
#ifndef API_SHORTAGE_H
#define API_SHORTAGE_H

#include <stdint.h>

/* From now on jansson's are counted. To be called before anything else of jansson's. */
void shortage_watch_json(void);

/* Counts one that makes an answer less than it should be. */
void shortage_note(void);

/* How many there were in this process. What was made, or parsed, from one value of this to the same value is
 * whole. */
uint64_t shortage_count(void);

#endif
