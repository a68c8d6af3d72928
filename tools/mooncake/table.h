/*
 * tools/mooncake/table.h -- columns that stand under each other
 *
 * Cells are added row by row; printing finds the widths.
 *
 * Threads   One at a time.
 * Limits    TABLE_COLUMN_MAX columns.
 */
#ifndef TOOLS_MOONCAKE_TABLE_H
#define TOOLS_MOONCAKE_TABLE_H

#include <stdio.h>

#define TABLE_COLUMN_MAX 16u

struct table;

/* Begin a table.  A capital R at a column's place in `align` sets it right, L left. */
struct table *table_new(const char *align);
void table_free(struct table *table);

/* Add the next cell; a row is full when it has as many as `align` has letters. */
void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print all rows, two spaces between columns, nothing behind the last cell. */
void table_print(const struct table *table, FILE *out);

#endif
