#include "manage/calls.h"

#define GET    HTTP_GET_
#define POST   HTTP_POST_
#define PUT    HTTP_PUT_
#define DELETE HTTP_DELETE_

#define ROUTE(method, path, action, handle, id, summary, status)                                   \
    {                                                                                              \
        method, "/api/" path, ACTION_MANAGE_##action, BODY_ANY, QUERY_OWN, handle, "manage" id,    \
            summary, status, NULL, "Managed"                                                       \
    }
#define TAKES(method, path, action, handle, id, summary, status)                                   \
    {                                                                                              \
        method, "/api/" path, ACTION_MANAGE_##action, BODY_ANY, QUERY_OWN, handle, "manage" id,    \
            summary, status, "Managed", "Managed"                                                  \
    }
#define LISTS(path, handle, id, summary) ROUTE(GET, path, LOOK, handle, id, summary, 200)

const struct route manage_routes[] = {
    ROUTE(GET, "whoami", PING, manage_whoami, "Whoami", "Who is asking", 200),
    LISTS("overview", manage_overview, "Overview", "Totals of everything"),
    LISTS("cluster-name", manage_cluster_name, "ClusterName", "The name of this server"),
    LISTS("auth", manage_auth, "Auth", "How to log in"),
    LISTS("nodes", manage_nodes, "Nodes", "This server, as a list of one node"),
    LISTS("nodes/{node}", manage_node, "Node", "This server"),
    LISTS("extensions", manage_empty_list, "Extensions", "None"),
    LISTS("parameters", manage_empty_list, "Parameters", "None"),
    LISTS("global-parameters", manage_empty_list, "GlobalParameters", "None"),
    LISTS("topic-permissions", manage_empty_list, "TopicPermissions", "None"),
    LISTS("vhost-limits", manage_empty_list, "VhostLimits", "None"),
    LISTS("feature-flags", manage_empty_list, "FeatureFlags", "None"),

    LISTS("healthchecks/node", manage_health, "HealthNode", "Decides, flushes, has room"),
    LISTS("healthchecks/node/{node}", manage_health_of_node, "HealthOfNode",
          "Decides, flushes, has room"),
    LISTS("health/checks/alarms", manage_health, "HealthAlarms", "Decides, flushes, has room"),
    LISTS("health/checks/local-alarms", manage_health, "HealthLocalAlarms",
          "Decides, flushes, has room"),
    LISTS("health/checks/virtual-hosts", manage_health, "HealthVhosts",
          "Decides, flushes, has room"),
    LISTS("health/checks/port-listener/{port}", manage_health_listener, "HealthPort",
          "Is this port listened on?"),
    LISTS("health/checks/protocol-listener/{protocol}", manage_health_listener, "HealthProtocol",
          "Is this protocol spoken?"),
    LISTS("aliveness-test/{vhost}", manage_health, "Aliveness", "Decides, flushes, has room"),

    LISTS("vhosts", manage_list_all, "ListVhosts", "List vhosts"),
    LISTS("vhosts/{vhost}", manage_show, "GetVhost", "A vhost"),
    TAKES(PUT, "vhosts/{vhost}", RULE, manage_put_vhost, "PutVhost", "Create a vhost", 204),
    ROUTE(DELETE, "vhosts/{vhost}", RULE, manage_delete_vhost, "DeleteVhost",
          "Delete a vhost with all that stands in it", 204),
    ROUTE(GET, "vhosts/{vhost}/permissions", SECRETS, manage_user_permissions,
          "ListVhostPermissions", "Who may do what in a vhost", 200),

    ROUTE(GET, "users", SECRETS, manage_list_all, "ListUsers", "List users", 200),
    TAKES(POST, "users/bulk-delete", RULE, manage_delete_users, "DeleteUsers",
          "Delete several users", 204),
    ROUTE(GET, "users/{user}", SECRETS, manage_show, "GetUser", "A user", 200),
    TAKES(PUT, "users/{user}", RULE, manage_put_user, "PutUser", "Create or replace a user", 204),
    ROUTE(DELETE, "users/{user}", RULE, manage_delete_user, "DeleteUser", "Delete a user", 204),
    ROUTE(GET, "users/{user}/permissions", SECRETS, manage_user_permissions, "ListUserPermissions",
          "What a user may do where", 200),

    ROUTE(GET, "permissions", SECRETS, manage_list_all, "ListPermissions", "List permissions", 200),
    ROUTE(GET, "permissions/{vhost}/{user}", SECRETS, manage_show, "GetPermission",
          "What a user may do in a vhost", 200),
    TAKES(PUT, "permissions/{vhost}/{user}", RULE, manage_put_permission, "PutPermission",
          "Say what a user may do in a vhost", 204),
    ROUTE(DELETE, "permissions/{vhost}/{user}", RULE, manage_delete_permission, "DeletePermission",
          "Take a user's permission away", 204),

    LISTS("exchanges", manage_list_all, "ListExchanges", "List exchanges"),
    LISTS("exchanges/{vhost}", manage_list_all, "ListVhostExchanges", "List exchanges of a vhost"),
    LISTS("exchanges/{vhost}/{exchange}", manage_show, "GetExchange", "An exchange"),
    TAKES(PUT, "exchanges/{vhost}/{exchange}", DEFINE, manage_put_exchange, "PutExchange",
          "Declare an exchange", 204),
    ROUTE(DELETE, "exchanges/{vhost}/{exchange}", DEFINE, manage_delete_exchange, "DeleteExchange",
          "Delete an exchange", 204),
    LISTS("exchanges/{vhost}/{exchange}/bindings/source", manage_bindings_of, "BindingsFrom",
          "Bindings that lead from an exchange"),
    LISTS("exchanges/{vhost}/{exchange}/bindings/destination", manage_bindings_of, "BindingsTo",
          "Bindings that lead to an exchange"),
    TAKES(POST, "exchanges/{vhost}/{exchange}/publish", PUBLISH, manage_publish, "Publish",
          "Publish a message", 200),

    LISTS("queues", manage_list_all, "ListQueues", "List queues"),
    LISTS("queues/{vhost}", manage_list_all, "ListVhostQueues", "List queues of a vhost"),
    LISTS("queues/{vhost}/{queue}", manage_show_queue, "GetQueue", "A queue with its consumers"),
    TAKES(PUT, "queues/{vhost}/{queue}", DEFINE, manage_put_queue, "PutQueue", "Declare a queue",
          204),
    ROUTE(DELETE, "queues/{vhost}/{queue}", DEFINE, manage_delete_queue, "DeleteQueue",
          "Delete a queue", 204),
    LISTS("queues/{vhost}/{queue}/bindings", manage_bindings_of, "BindingsOfQueue",
          "Bindings that lead to a queue"),
    ROUTE(DELETE, "queues/{vhost}/{queue}/contents", PURGE, manage_purge_queue, "PurgeQueue",
          "Drop the messages that nobody has", 204),
    TAKES(POST, "queues/{vhost}/{queue}/get", GET, manage_get, "GetMessages",
          "Get messages as a consumer does", 200),

    LISTS("bindings", manage_list_all, "ListBindings", "List bindings"),
    LISTS("bindings/{vhost}", manage_list_all, "ListVhostBindings", "List bindings of a vhost"),
    LISTS("bindings/{vhost}/e/{source}/q/{destination}", manage_bindings_of, "BindingsToQueue",
          "Bindings between an exchange and a queue"),
    TAKES(POST, "bindings/{vhost}/e/{source}/q/{destination}", DEFINE, manage_post_binding,
          "BindQueue", "Bind a queue", 201),
    ROUTE(DELETE, "bindings/{vhost}/e/{source}/q/{destination}/{properties}", DEFINE,
          manage_delete_binding, "UnbindQueue", "Unbind a queue", 204),
    LISTS("bindings/{vhost}/e/{source}/e/{destination}", manage_bindings_of, "BindingsToExchange",
          "Bindings between two exchanges"),
    TAKES(POST, "bindings/{vhost}/e/{source}/e/{destination}", DEFINE, manage_post_binding,
          "BindExchange", "Bind an exchange", 201),
    ROUTE(DELETE, "bindings/{vhost}/e/{source}/e/{destination}/{properties}", DEFINE,
          manage_delete_binding, "UnbindExchange", "Unbind an exchange", 204),

    LISTS("policies", manage_list_all, "ListPolicies", "List policies"),
    LISTS("policies/{vhost}", manage_list_all, "ListVhostPolicies", "List policies of a vhost"),
    LISTS("policies/{vhost}/{policy}", manage_show, "GetPolicy", "A policy"),
    TAKES(PUT, "policies/{vhost}/{policy}", POLICY, manage_put_policy, "PutPolicy",
          "Create or replace a policy", 204),
    ROUTE(DELETE, "policies/{vhost}/{policy}", POLICY, manage_delete_policy, "DeletePolicy",
          "Delete a policy", 204),
    LISTS("operator-policies", manage_list_all, "ListOperatorPolicies", "List operator policies"),
    LISTS("operator-policies/{vhost}", manage_list_all, "ListVhostOperatorPolicies",
          "List operator policies of a vhost"),
    LISTS("operator-policies/{vhost}/{policy}", manage_show, "GetOperatorPolicy",
          "An operator policy"),
    TAKES(PUT, "operator-policies/{vhost}/{policy}", RULE, manage_put_policy, "PutOperatorPolicy",
          "Create or replace an operator policy", 204),
    ROUTE(DELETE, "operator-policies/{vhost}/{policy}", RULE, manage_delete_policy,
          "DeleteOperatorPolicy", "Delete an operator policy", 204),

    LISTS("connections", manage_peers, "ListConnections", "List connections"),
    LISTS("connections/{connection}", manage_connection, "GetConnection", "A connection"),
    ROUTE(DELETE, "connections/{connection}", PURGE, manage_delete_connection, "CloseConnection",
          "Close a connection with 320; X-Reason says why", 204),
    LISTS("connections/{connection}/channels", manage_peers, "ListConnectionChannels",
          "List channels of a connection"),
    LISTS("vhosts/{vhost}/connections", manage_peers, "ListVhostConnections",
          "List connections of a vhost"),
    LISTS("channels", manage_peers, "ListChannels", "List channels"),
    LISTS("channels/{channel}", manage_channel, "GetChannel", "A channel"),
    LISTS("vhosts/{vhost}/channels", manage_peers, "ListVhostChannels", "List channels of a vhost"),
    LISTS("consumers", manage_consumers, "ListConsumers", "List consumers"),
    LISTS("consumers/{vhost}", manage_consumers, "ListVhostConsumers", "List consumers of a vhost"),

    ROUTE(GET, "definitions", SECRETS, manage_export, "Export", "All definitions", 200),
    ROUTE(GET, "definitions/{vhost}", SECRETS, manage_export, "ExportVhost",
          "The definitions of a vhost", 200),
    TAKES(POST, "definitions", RULE, manage_import, "Import",
          "Define all of it; the answer lists what was not honoured", 200),
    TAKES(POST, "definitions/{vhost}", RULE, manage_import, "ImportVhost",
          "The same, into one vhost", 200),
};
const size_t manage_route_count = ARRAY_LENGTH(manage_routes);
