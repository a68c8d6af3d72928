#include "engine/etcd/url.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"

/* One NAME=VALUE behind the question mark. */
static enum mc_status setting_take(struct etcd_url *url, char *word)
{
	const struct {
		const char *name;
		const char **to;
	} rows[] = {
		{"ca", &url->config.ca},
		{"certificate", &url->config.certificate},
		{"key", &url->config.key},
		{"user", &url->config.user},
	};
	char *value = strchr(word, '=');

	if (!value)
		return MC_INVALID;
	*value++ = '\0';
	if (strcmp(word, "password_file") == 0)
		return etcd_password_read(value, url->password) ? MC_OK : MC_INVALID;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(word, rows[i].name) == 0) {
			*rows[i].to = value;
			return MC_OK;
		}
	}
	return MC_INVALID;
}

static enum mc_status parts_take(struct etcd_url *url)
{
	enum mc_status status = MC_OK;
	char *settings = url->text;

	char *place = strsep(&settings, "?");
	url->config.endpoints = strsep(&place, "/");
	url->config.password = url->password;
	url->cluster = place && place[0] ? place : "default";
	if (strchr(url->cluster, '/'))
		return MC_INVALID;
	for (char *word; status == MC_OK && (word = strsep(&settings, "&"));)
		status = setting_take(url, word);
	return status;
}

enum mc_status etcd_url_parse(const char *text, struct etcd_url *url)
{
	if (strncmp(text, ETCD_URL_HEAD, strlen(ETCD_URL_HEAD)) != 0)
		return MC_INVALID;
	*url = (struct etcd_url){.text = strdup(text + strlen(ETCD_URL_HEAD))};
	enum mc_status status = url->text ? parts_take(url) : MC_NO_MEMORY;
	if (status != MC_OK)
		etcd_url_fini(url);
	return status;
}

void etcd_url_fini(struct etcd_url *url)
{
	free(url->text);
	*url = (struct etcd_url){0};
}
