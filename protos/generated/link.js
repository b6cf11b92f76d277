/*eslint-disable block-scoped-var, id-length, no-control-regex, no-magic-numbers, no-mixed-operators, no-prototype-builtins, no-redeclare, no-shadow, no-var, sort-vars, default-case, jsdoc/require-param*/
import $protobuf from "protobufjs/minimal.js";

const $Reader = $protobuf.Reader, $Writer = $protobuf.Writer, $util = $protobuf.util;
const $Object = $util.global.Object, $undefined = $util.global.undefined, $Error = $util.global.Error, $RangeError = $util.global.RangeError;

const $root = $protobuf.roots["default"] || ($protobuf.roots["default"] = {});

export const farfield = $root.farfield = (() => {

    const farfield = {};

    farfield.LinkFrame = (function() {

        const LinkFrame = function (properties) {
            this.messages = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        LinkFrame.prototype.messages = $util.emptyArray;

        LinkFrame.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.messages != null && message.messages.length)
                for (let i = 0; i < message.messages.length; ++i)
                    $root.farfield.LinkMessage.encode(message.messages[i], writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        LinkFrame.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.LinkFrame();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.messages && message.messages.length))
                            message.messages = [];
                        message.messages.push($root.farfield.LinkMessage.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return LinkFrame;
    })();

    farfield.LinkMessage = (function() {

        const LinkMessage = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        LinkMessage.prototype.challenge = $undefined;
        LinkMessage.prototype.hello = $undefined;
        LinkMessage.prototype.welcome = $undefined;
        LinkMessage.prototype.bye = $undefined;
        LinkMessage.prototype.ping = $undefined;
        LinkMessage.prototype.pong = $undefined;
        LinkMessage.prototype.credit = $undefined;
        LinkMessage.prototype.deliver = $undefined;
        LinkMessage.prototype.admitted = $undefined;
        LinkMessage.prototype.refusal = $undefined;
        LinkMessage.prototype.outcome = $undefined;
        LinkMessage.prototype.outcomeAck = $undefined;
        LinkMessage.prototype.cancel = $undefined;
        LinkMessage.prototype.cancelAck = $undefined;
        LinkMessage.prototype.running = $undefined;
        LinkMessage.prototype.log = $undefined;
        LinkMessage.prototype.status = $undefined;
        LinkMessage.prototype.handBack = $undefined;
        LinkMessage.prototype.accessAsk = $undefined;
        LinkMessage.prototype.accessReply = $undefined;

        let $oneOfFields;

        $Object.defineProperty(LinkMessage.prototype, "body", {
            get: $util.oneOfGetter($oneOfFields = ["challenge", "hello", "welcome", "bye", "ping", "pong", "credit", "deliver", "admitted", "refusal", "outcome", "outcomeAck", "cancel", "cancelAck", "running", "log", "status", "handBack", "accessAsk", "accessReply"]),
            set: $util.oneOfSetter($oneOfFields)
        });

        LinkMessage.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.challenge != null && $Object.hasOwnProperty.call(message, "challenge"))
                $root.farfield.Challenge.encode(message.challenge, writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.hello != null && $Object.hasOwnProperty.call(message, "hello"))
                $root.farfield.Hello.encode(message.hello, writer.uint32(18).fork(), _depth + 1).ldelim();
            if (message.welcome != null && $Object.hasOwnProperty.call(message, "welcome"))
                $root.farfield.Welcome.encode(message.welcome, writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.bye != null && $Object.hasOwnProperty.call(message, "bye"))
                $root.farfield.Bye.encode(message.bye, writer.uint32(34).fork(), _depth + 1).ldelim();
            if (message.ping != null && $Object.hasOwnProperty.call(message, "ping"))
                $root.farfield.Ping.encode(message.ping, writer.uint32(42).fork(), _depth + 1).ldelim();
            if (message.pong != null && $Object.hasOwnProperty.call(message, "pong"))
                $root.farfield.Pong.encode(message.pong, writer.uint32(50).fork(), _depth + 1).ldelim();
            if (message.credit != null && $Object.hasOwnProperty.call(message, "credit"))
                $root.farfield.Credit.encode(message.credit, writer.uint32(58).fork(), _depth + 1).ldelim();
            if (message.deliver != null && $Object.hasOwnProperty.call(message, "deliver"))
                $root.farfield.Deliver.encode(message.deliver, writer.uint32(66).fork(), _depth + 1).ldelim();
            if (message.admitted != null && $Object.hasOwnProperty.call(message, "admitted"))
                $root.farfield.Admitted.encode(message.admitted, writer.uint32(74).fork(), _depth + 1).ldelim();
            if (message.refusal != null && $Object.hasOwnProperty.call(message, "refusal"))
                $root.farfield.Refusal.encode(message.refusal, writer.uint32(82).fork(), _depth + 1).ldelim();
            if (message.outcome != null && $Object.hasOwnProperty.call(message, "outcome"))
                $root.farfield.Outcome.encode(message.outcome, writer.uint32(90).fork(), _depth + 1).ldelim();
            if (message.outcomeAck != null && $Object.hasOwnProperty.call(message, "outcomeAck"))
                $root.farfield.OutcomeAck.encode(message.outcomeAck, writer.uint32(98).fork(), _depth + 1).ldelim();
            if (message.cancel != null && $Object.hasOwnProperty.call(message, "cancel"))
                $root.farfield.Cancel.encode(message.cancel, writer.uint32(106).fork(), _depth + 1).ldelim();
            if (message.cancelAck != null && $Object.hasOwnProperty.call(message, "cancelAck"))
                $root.farfield.CancelAck.encode(message.cancelAck, writer.uint32(114).fork(), _depth + 1).ldelim();
            if (message.running != null && $Object.hasOwnProperty.call(message, "running"))
                $root.farfield.Running.encode(message.running, writer.uint32(122).fork(), _depth + 1).ldelim();
            if (message.log != null && $Object.hasOwnProperty.call(message, "log"))
                $root.farfield.Log.encode(message.log, writer.uint32(130).fork(), _depth + 1).ldelim();
            if (message.status != null && $Object.hasOwnProperty.call(message, "status"))
                $root.farfield.Status.encode(message.status, writer.uint32(138).fork(), _depth + 1).ldelim();
            if (message.handBack != null && $Object.hasOwnProperty.call(message, "handBack"))
                $root.farfield.HandBack.encode(message.handBack, writer.uint32(146).fork(), _depth + 1).ldelim();
            if (message.accessAsk != null && $Object.hasOwnProperty.call(message, "accessAsk"))
                $root.farfield.AccessAsk.encode(message.accessAsk, writer.uint32(154).fork(), _depth + 1).ldelim();
            if (message.accessReply != null && $Object.hasOwnProperty.call(message, "accessReply"))
                $root.farfield.AccessReply.encode(message.accessReply, writer.uint32(162).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        LinkMessage.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.LinkMessage();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        message.challenge = $root.farfield.Challenge.decode(reader, reader.size(), $undefined, _depth + 1, message.challenge);
                        message.body = "challenge";
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        message.hello = $root.farfield.Hello.decode(reader, reader.size(), $undefined, _depth + 1, message.hello);
                        message.body = "hello";
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        message.welcome = $root.farfield.Welcome.decode(reader, reader.size(), $undefined, _depth + 1, message.welcome);
                        message.body = "welcome";
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        message.bye = $root.farfield.Bye.decode(reader, reader.size(), $undefined, _depth + 1, message.bye);
                        message.body = "bye";
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        message.ping = $root.farfield.Ping.decode(reader, reader.size(), $undefined, _depth + 1, message.ping);
                        message.body = "ping";
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        message.pong = $root.farfield.Pong.decode(reader, reader.size(), $undefined, _depth + 1, message.pong);
                        message.body = "pong";
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        message.credit = $root.farfield.Credit.decode(reader, reader.size(), $undefined, _depth + 1, message.credit);
                        message.body = "credit";
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        message.deliver = $root.farfield.Deliver.decode(reader, reader.size(), $undefined, _depth + 1, message.deliver);
                        message.body = "deliver";
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        message.admitted = $root.farfield.Admitted.decode(reader, reader.size(), $undefined, _depth + 1, message.admitted);
                        message.body = "admitted";
                        continue;
                    }
                case 10: {
                        if (wireType !== 2)
                            break;
                        message.refusal = $root.farfield.Refusal.decode(reader, reader.size(), $undefined, _depth + 1, message.refusal);
                        message.body = "refusal";
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        message.outcome = $root.farfield.Outcome.decode(reader, reader.size(), $undefined, _depth + 1, message.outcome);
                        message.body = "outcome";
                        continue;
                    }
                case 12: {
                        if (wireType !== 2)
                            break;
                        message.outcomeAck = $root.farfield.OutcomeAck.decode(reader, reader.size(), $undefined, _depth + 1, message.outcomeAck);
                        message.body = "outcomeAck";
                        continue;
                    }
                case 13: {
                        if (wireType !== 2)
                            break;
                        message.cancel = $root.farfield.Cancel.decode(reader, reader.size(), $undefined, _depth + 1, message.cancel);
                        message.body = "cancel";
                        continue;
                    }
                case 14: {
                        if (wireType !== 2)
                            break;
                        message.cancelAck = $root.farfield.CancelAck.decode(reader, reader.size(), $undefined, _depth + 1, message.cancelAck);
                        message.body = "cancelAck";
                        continue;
                    }
                case 15: {
                        if (wireType !== 2)
                            break;
                        message.running = $root.farfield.Running.decode(reader, reader.size(), $undefined, _depth + 1, message.running);
                        message.body = "running";
                        continue;
                    }
                case 16: {
                        if (wireType !== 2)
                            break;
                        message.log = $root.farfield.Log.decode(reader, reader.size(), $undefined, _depth + 1, message.log);
                        message.body = "log";
                        continue;
                    }
                case 17: {
                        if (wireType !== 2)
                            break;
                        message.status = $root.farfield.Status.decode(reader, reader.size(), $undefined, _depth + 1, message.status);
                        message.body = "status";
                        continue;
                    }
                case 18: {
                        if (wireType !== 2)
                            break;
                        message.handBack = $root.farfield.HandBack.decode(reader, reader.size(), $undefined, _depth + 1, message.handBack);
                        message.body = "handBack";
                        continue;
                    }
                case 19: {
                        if (wireType !== 2)
                            break;
                        message.accessAsk = $root.farfield.AccessAsk.decode(reader, reader.size(), $undefined, _depth + 1, message.accessAsk);
                        message.body = "accessAsk";
                        continue;
                    }
                case 20: {
                        if (wireType !== 2)
                            break;
                        message.accessReply = $root.farfield.AccessReply.decode(reader, reader.size(), $undefined, _depth + 1, message.accessReply);
                        message.body = "accessReply";
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return LinkMessage;
    })();

    farfield.Challenge = (function() {

        const Challenge = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Challenge.prototype.acceptor = "";
        Challenge.prototype.nonce = "";
        Challenge.prototype.protocolMin = 0;
        Challenge.prototype.protocolMax = 0;

        Challenge.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.acceptor != null && $Object.hasOwnProperty.call(message, "acceptor") && message.acceptor !== "")
                writer.uint32(10).string(message.acceptor);
            if (message.nonce != null && $Object.hasOwnProperty.call(message, "nonce") && message.nonce !== "")
                writer.uint32(18).string(message.nonce);
            if (message.protocolMin != null && $Object.hasOwnProperty.call(message, "protocolMin") && message.protocolMin !== 0)
                writer.uint32(24).uint32(message.protocolMin);
            if (message.protocolMax != null && $Object.hasOwnProperty.call(message, "protocolMax") && message.protocolMax !== 0)
                writer.uint32(32).uint32(message.protocolMax);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Challenge.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Challenge();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.acceptor = value;
                        else
                            delete message.acceptor;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.nonce = value;
                        else
                            delete message.nonce;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMin = value;
                        else
                            delete message.protocolMin;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMax = value;
                        else
                            delete message.protocolMax;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Challenge;
    })();

    farfield.Hello = (function() {

        const Hello = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Hello.prototype.token = "";
        Hello.prototype.descriptor = "";
        Hello.prototype.status = "";
        Hello.prototype.protocolMin = 0;
        Hello.prototype.protocolMax = 0;

        Hello.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(10).string(message.token);
            if (message.descriptor != null && $Object.hasOwnProperty.call(message, "descriptor") && message.descriptor !== "")
                writer.uint32(18).string(message.descriptor);
            if (message.status != null && $Object.hasOwnProperty.call(message, "status") && message.status !== "")
                writer.uint32(26).string(message.status);
            if (message.protocolMin != null && $Object.hasOwnProperty.call(message, "protocolMin") && message.protocolMin !== 0)
                writer.uint32(32).uint32(message.protocolMin);
            if (message.protocolMax != null && $Object.hasOwnProperty.call(message, "protocolMax") && message.protocolMax !== 0)
                writer.uint32(40).uint32(message.protocolMax);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Hello.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Hello();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.descriptor = value;
                        else
                            delete message.descriptor;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.status = value;
                        else
                            delete message.status;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMin = value;
                        else
                            delete message.protocolMin;
                        continue;
                    }
                case 5: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMax = value;
                        else
                            delete message.protocolMax;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Hello;
    })();

    farfield.Welcome = (function() {

        const Welcome = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Welcome.prototype.protocol = 0;
        Welcome.prototype.sessionEpoch = 0;

        Welcome.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.protocol != null && $Object.hasOwnProperty.call(message, "protocol") && message.protocol !== 0)
                writer.uint32(8).uint32(message.protocol);
            if (message.sessionEpoch != null && $Object.hasOwnProperty.call(message, "sessionEpoch") && (typeof message.sessionEpoch === "object" ? message.sessionEpoch.low || message.sessionEpoch.high : message.sessionEpoch !== 0))
                writer.uint32(16).uint64(message.sessionEpoch);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Welcome.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Welcome();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocol = value;
                        else
                            delete message.protocol;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.sessionEpoch = value;
                        else
                            delete message.sessionEpoch;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Welcome;
    })();

    farfield.Bye = (function() {

        const Bye = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Bye.prototype.code = "";
        Bye.prototype.message = "";
        Bye.prototype.retryAfterS = 0;

        Bye.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.code != null && $Object.hasOwnProperty.call(message, "code") && message.code !== "")
                writer.uint32(10).string(message.code);
            if (message.message != null && $Object.hasOwnProperty.call(message, "message") && message.message !== "")
                writer.uint32(18).string(message.message);
            if (message.retryAfterS != null && $Object.hasOwnProperty.call(message, "retryAfterS") && message.retryAfterS !== 0)
                writer.uint32(24).uint32(message.retryAfterS);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Bye.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Bye();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.code = value;
                        else
                            delete message.code;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.message = value;
                        else
                            delete message.message;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.retryAfterS = value;
                        else
                            delete message.retryAfterS;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Bye;
    })();

    farfield.Ping = (function() {

        const Ping = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Ping.prototype.id = 0;

        Ping.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && (typeof message.id === "object" ? message.id.low || message.id.high : message.id !== 0))
                writer.uint32(8).uint64(message.id);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Ping.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Ping();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Ping;
    })();

    farfield.Pong = (function() {

        const Pong = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Pong.prototype.id = 0;

        Pong.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && (typeof message.id === "object" ? message.id.low || message.id.high : message.id !== 0))
                writer.uint32(8).uint64(message.id);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Pong.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Pong();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Pong;
    })();

    farfield.Credit = (function() {

        const Credit = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Credit.prototype.items = 0;
        Credit.prototype.bytes = 0;

        Credit.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.items != null && $Object.hasOwnProperty.call(message, "items") && (typeof message.items === "object" ? message.items.low || message.items.high : message.items !== 0))
                writer.uint32(8).uint64(message.items);
            if (message.bytes != null && $Object.hasOwnProperty.call(message, "bytes") && (typeof message.bytes === "object" ? message.bytes.low || message.bytes.high : message.bytes !== 0))
                writer.uint32(16).uint64(message.bytes);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Credit.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Credit();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.items = value;
                        else
                            delete message.items;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.bytes = value;
                        else
                            delete message.bytes;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Credit;
    })();

    farfield.Deliver = (function() {

        const Deliver = function (properties) {
            this.tickets = [];
            this.chains = [];
            this.manifests = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Deliver.prototype.tickets = $util.emptyArray;
        Deliver.prototype.chains = $util.emptyArray;
        Deliver.prototype.manifests = $util.emptyArray;

        Deliver.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.tickets != null && message.tickets.length)
                for (let i = 0; i < message.tickets.length; ++i)
                    $root.farfield.DeliveredTicket.encode(message.tickets[i], writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.chains != null && message.chains.length)
                for (let i = 0; i < message.chains.length; ++i)
                    $root.farfield.Chain.encode(message.chains[i], writer.uint32(18).fork(), _depth + 1).ldelim();
            if (message.manifests != null && message.manifests.length)
                for (let i = 0; i < message.manifests.length; ++i)
                    writer.uint32(26).bytes(message.manifests[i]);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Deliver.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Deliver();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.tickets && message.tickets.length))
                            message.tickets = [];
                        message.tickets.push($root.farfield.DeliveredTicket.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if (!(message.chains && message.chains.length))
                            message.chains = [];
                        message.chains.push($root.farfield.Chain.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if (!(message.manifests && message.manifests.length))
                            message.manifests = [];
                        message.manifests.push(reader.bytes());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Deliver;
    })();

    farfield.Chain = (function() {

        const Chain = function (properties) {
            this.links = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Chain.prototype.links = $util.emptyArray;

        Chain.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.links != null && message.links.length)
                for (let i = 0; i < message.links.length; ++i)
                    writer.uint32(10).string(message.links[i]);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Chain.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Chain();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.links && message.links.length))
                            message.links = [];
                        message.links.push(reader.stringVerify());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Chain;
    })();

    farfield.DeliveredTicket = (function() {

        const DeliveredTicket = function (properties) {
            this.items = [];
            this.itemSizes = [];
            this.inlineSizes = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        DeliveredTicket.prototype.id = "";
        DeliveredTicket.prototype.deliveryEpoch = 0;
        DeliveredTicket.prototype.ticket = "";
        DeliveredTicket.prototype.chain = 0;
        DeliveredTicket.prototype.manifest = 0;
        DeliveredTicket.prototype.leaves = $util.newBuffer([]);
        DeliveredTicket.prototype.items = $util.emptyArray;
        DeliveredTicket.prototype.itemSizes = $util.emptyArray;
        DeliveredTicket.prototype.itemBytes = $util.newBuffer([]);
        DeliveredTicket.prototype.inlineSizes = $util.emptyArray;
        DeliveredTicket.prototype.inline = $util.newBuffer([]);

        DeliveredTicket.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.deliveryEpoch != null && $Object.hasOwnProperty.call(message, "deliveryEpoch") && (typeof message.deliveryEpoch === "object" ? message.deliveryEpoch.low || message.deliveryEpoch.high : message.deliveryEpoch !== 0))
                writer.uint32(16).uint64(message.deliveryEpoch);
            if (message.ticket != null && $Object.hasOwnProperty.call(message, "ticket") && message.ticket !== "")
                writer.uint32(26).string(message.ticket);
            if (message.chain != null && $Object.hasOwnProperty.call(message, "chain") && message.chain !== 0)
                writer.uint32(32).uint32(message.chain);
            if (message.manifest != null && $Object.hasOwnProperty.call(message, "manifest") && message.manifest !== 0)
                writer.uint32(40).uint32(message.manifest);
            if (message.leaves != null && $Object.hasOwnProperty.call(message, "leaves") && message.leaves.length)
                writer.uint32(50).bytes(message.leaves);
            if (message.items != null && message.items.length)
                writer.uint32(58).uint32s(message.items);
            if (message.itemSizes != null && message.itemSizes.length)
                writer.uint32(66).uint32s(message.itemSizes);
            if (message.itemBytes != null && $Object.hasOwnProperty.call(message, "itemBytes") && message.itemBytes.length)
                writer.uint32(74).bytes(message.itemBytes);
            if (message.inlineSizes != null && message.inlineSizes.length)
                writer.uint32(82).uint32s(message.inlineSizes);
            if (message.inline != null && $Object.hasOwnProperty.call(message, "inline") && message.inline.length)
                writer.uint32(90).bytes(message.inline);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        DeliveredTicket.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.DeliveredTicket();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.deliveryEpoch = value;
                        else
                            delete message.deliveryEpoch;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.ticket = value;
                        else
                            delete message.ticket;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.chain = value;
                        else
                            delete message.chain;
                        continue;
                    }
                case 5: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.manifest = value;
                        else
                            delete message.manifest;
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.leaves = value;
                        else
                            delete message.leaves;
                        continue;
                    }
                case 7: {
                        if (wireType === 2) {
                            if (!(message.items && message.items.length))
                                message.items = [];
                            reader.uint32s(message.items);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.items && message.items.length))
                            message.items = [];
                        message.items.push(reader.uint32());
                        continue;
                    }
                case 8: {
                        if (wireType === 2) {
                            if (!(message.itemSizes && message.itemSizes.length))
                                message.itemSizes = [];
                            reader.uint32s(message.itemSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.itemSizes && message.itemSizes.length))
                            message.itemSizes = [];
                        message.itemSizes.push(reader.uint32());
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.itemBytes = value;
                        else
                            delete message.itemBytes;
                        continue;
                    }
                case 10: {
                        if (wireType === 2) {
                            if (!(message.inlineSizes && message.inlineSizes.length))
                                message.inlineSizes = [];
                            reader.uint32s(message.inlineSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.inlineSizes && message.inlineSizes.length))
                            message.inlineSizes = [];
                        message.inlineSizes.push(reader.uint32());
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.inline = value;
                        else
                            delete message.inline;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return DeliveredTicket;
    })();

    farfield.Admitted = (function() {

        const Admitted = function (properties) {
            this.tickets = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Admitted.prototype.tickets = $util.emptyArray;

        Admitted.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.tickets != null && message.tickets.length)
                for (let i = 0; i < message.tickets.length; ++i)
                    $root.farfield.AdmittedTicket.encode(message.tickets[i], writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Admitted.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Admitted();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.tickets && message.tickets.length))
                            message.tickets = [];
                        message.tickets.push($root.farfield.AdmittedTicket.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Admitted;
    })();

    farfield.AdmittedTicket = (function() {

        const AdmittedTicket = function (properties) {
            this.items = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        AdmittedTicket.prototype.id = "";
        AdmittedTicket.prototype.deliveryEpoch = 0;
        AdmittedTicket.prototype.items = $util.emptyArray;

        AdmittedTicket.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.deliveryEpoch != null && $Object.hasOwnProperty.call(message, "deliveryEpoch") && (typeof message.deliveryEpoch === "object" ? message.deliveryEpoch.low || message.deliveryEpoch.high : message.deliveryEpoch !== 0))
                writer.uint32(16).uint64(message.deliveryEpoch);
            if (message.items != null && message.items.length)
                writer.uint32(26).uint32s(message.items);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        AdmittedTicket.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.AdmittedTicket();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.deliveryEpoch = value;
                        else
                            delete message.deliveryEpoch;
                        continue;
                    }
                case 3: {
                        if (wireType === 2) {
                            if (!(message.items && message.items.length))
                                message.items = [];
                            reader.uint32s(message.items);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.items && message.items.length))
                            message.items = [];
                        message.items.push(reader.uint32());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return AdmittedTicket;
    })();

    farfield.Refusal = (function() {

        const Refusal = function (properties) {
            this.items = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Refusal.prototype.id = "";
        Refusal.prototype.deliveryEpoch = 0;
        Refusal.prototype.items = $util.emptyArray;
        Refusal.prototype.receipt = "";

        Refusal.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.deliveryEpoch != null && $Object.hasOwnProperty.call(message, "deliveryEpoch") && (typeof message.deliveryEpoch === "object" ? message.deliveryEpoch.low || message.deliveryEpoch.high : message.deliveryEpoch !== 0))
                writer.uint32(16).uint64(message.deliveryEpoch);
            if (message.items != null && message.items.length)
                writer.uint32(26).uint32s(message.items);
            if (message.receipt != null && $Object.hasOwnProperty.call(message, "receipt") && message.receipt !== "")
                writer.uint32(34).string(message.receipt);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Refusal.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Refusal();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.deliveryEpoch = value;
                        else
                            delete message.deliveryEpoch;
                        continue;
                    }
                case 3: {
                        if (wireType === 2) {
                            if (!(message.items && message.items.length))
                                message.items = [];
                            reader.uint32s(message.items);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.items && message.items.length))
                            message.items = [];
                        message.items.push(reader.uint32());
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.receipt = value;
                        else
                            delete message.receipt;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Refusal;
    })();

    farfield.Outcome = (function() {

        const Outcome = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Outcome.prototype.packNo = 0;
        Outcome.prototype.pack = $undefined;

        Outcome.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.packNo != null && $Object.hasOwnProperty.call(message, "packNo") && (typeof message.packNo === "object" ? message.packNo.low || message.packNo.high : message.packNo !== 0))
                writer.uint32(8).uint64(message.packNo);
            if (message.pack != null && $Object.hasOwnProperty.call(message, "pack"))
                $root.farfield.Pack.encode(message.pack, writer.uint32(18).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Outcome.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Outcome();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.packNo = value;
                        else
                            delete message.packNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        message.pack = $root.farfield.Pack.decode(reader, reader.size(), $undefined, _depth + 1, message.pack);
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Outcome;
    })();

    farfield.OutcomeAck = (function() {

        const OutcomeAck = function (properties) {
            this.packNos = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        OutcomeAck.prototype.packNos = $util.emptyArray;

        OutcomeAck.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.packNos != null && message.packNos.length)
                writer.uint32(10).uint64s(message.packNos);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        OutcomeAck.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.OutcomeAck();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.packNos && message.packNos.length))
                                message.packNos = [];
                            reader.uint64s(message.packNos);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.packNos && message.packNos.length))
                            message.packNos = [];
                        message.packNos.push(reader.uint64());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return OutcomeAck;
    })();

    farfield.Pack = (function() {

        const Pack = function (properties) {
            this.tickets = [];
            this.details = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Pack.prototype.receipts = "";
        Pack.prototype.principal = "";
        Pack.prototype.tickets = $util.emptyArray;
        Pack.prototype.details = $util.emptyArray;

        Pack.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.receipts != null && $Object.hasOwnProperty.call(message, "receipts") && message.receipts !== "")
                writer.uint32(10).string(message.receipts);
            if (message.principal != null && $Object.hasOwnProperty.call(message, "principal") && message.principal !== "")
                writer.uint32(18).string(message.principal);
            if (message.tickets != null && message.tickets.length)
                for (let i = 0; i < message.tickets.length; ++i)
                    $root.farfield.PackTicket.encode(message.tickets[i], writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.details != null && message.details.length)
                for (let i = 0; i < message.details.length; ++i)
                    writer.uint32(34).bytes(message.details[i]);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Pack.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Pack();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.receipts = value;
                        else
                            delete message.receipts;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.principal = value;
                        else
                            delete message.principal;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if (!(message.tickets && message.tickets.length))
                            message.tickets = [];
                        message.tickets.push($root.farfield.PackTicket.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if (!(message.details && message.details.length))
                            message.details = [];
                        message.details.push(reader.bytes());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Pack;
    })();

    farfield.PackTicket = (function() {

        const PackTicket = function (properties) {
            this.items = [];
            this.attempts = [];
            this.detail = [];
            this.meas = [];
            this.resultSizes = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PackTicket.prototype.id = "";
        PackTicket.prototype.jti = "";
        PackTicket.prototype.ticketHash = "";
        PackTicket.prototype.items = $util.emptyArray;
        PackTicket.prototype.attempts = $util.emptyArray;
        PackTicket.prototype.statuses = $util.newBuffer([]);
        PackTicket.prototype.detail = $util.emptyArray;
        PackTicket.prototype.meas = $util.emptyArray;
        PackTicket.prototype.resultDigests = $util.newBuffer([]);
        PackTicket.prototype.resultSizes = $util.emptyArray;
        PackTicket.prototype.results = $util.newBuffer([]);

        PackTicket.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.jti != null && $Object.hasOwnProperty.call(message, "jti") && message.jti !== "")
                writer.uint32(18).string(message.jti);
            if (message.ticketHash != null && $Object.hasOwnProperty.call(message, "ticketHash") && message.ticketHash !== "")
                writer.uint32(26).string(message.ticketHash);
            if (message.items != null && message.items.length)
                writer.uint32(34).uint32s(message.items);
            if (message.attempts != null && message.attempts.length)
                writer.uint32(42).uint32s(message.attempts);
            if (message.statuses != null && $Object.hasOwnProperty.call(message, "statuses") && message.statuses.length)
                writer.uint32(50).bytes(message.statuses);
            if (message.detail != null && message.detail.length)
                writer.uint32(58).uint32s(message.detail);
            if (message.meas != null && message.meas.length)
                writer.uint32(66).uint32s(message.meas);
            if (message.resultDigests != null && $Object.hasOwnProperty.call(message, "resultDigests") && message.resultDigests.length)
                writer.uint32(74).bytes(message.resultDigests);
            if (message.resultSizes != null && message.resultSizes.length)
                writer.uint32(82).uint32s(message.resultSizes);
            if (message.results != null && $Object.hasOwnProperty.call(message, "results") && message.results.length)
                writer.uint32(90).bytes(message.results);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PackTicket.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PackTicket();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.jti = value;
                        else
                            delete message.jti;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.ticketHash = value;
                        else
                            delete message.ticketHash;
                        continue;
                    }
                case 4: {
                        if (wireType === 2) {
                            if (!(message.items && message.items.length))
                                message.items = [];
                            reader.uint32s(message.items);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.items && message.items.length))
                            message.items = [];
                        message.items.push(reader.uint32());
                        continue;
                    }
                case 5: {
                        if (wireType === 2) {
                            if (!(message.attempts && message.attempts.length))
                                message.attempts = [];
                            reader.uint32s(message.attempts);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.attempts && message.attempts.length))
                            message.attempts = [];
                        message.attempts.push(reader.uint32());
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.statuses = value;
                        else
                            delete message.statuses;
                        continue;
                    }
                case 7: {
                        if (wireType === 2) {
                            if (!(message.detail && message.detail.length))
                                message.detail = [];
                            reader.uint32s(message.detail);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.detail && message.detail.length))
                            message.detail = [];
                        message.detail.push(reader.uint32());
                        continue;
                    }
                case 8: {
                        if (wireType === 2) {
                            if (!(message.meas && message.meas.length))
                                message.meas = [];
                            reader.uint32s(message.meas);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.meas && message.meas.length))
                            message.meas = [];
                        message.meas.push(reader.uint32());
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.resultDigests = value;
                        else
                            delete message.resultDigests;
                        continue;
                    }
                case 10: {
                        if (wireType === 2) {
                            if (!(message.resultSizes && message.resultSizes.length))
                                message.resultSizes = [];
                            reader.uint32s(message.resultSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.resultSizes && message.resultSizes.length))
                            message.resultSizes = [];
                        message.resultSizes.push(reader.uint32());
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.results = value;
                        else
                            delete message.results;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PackTicket;
    })();

    farfield.Cancel = (function() {

        const Cancel = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Cancel.prototype.cancelNo = 0;
        Cancel.prototype.token = "";
        Cancel.prototype.chain = $undefined;

        Cancel.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.cancelNo != null && $Object.hasOwnProperty.call(message, "cancelNo") && (typeof message.cancelNo === "object" ? message.cancelNo.low || message.cancelNo.high : message.cancelNo !== 0))
                writer.uint32(8).uint64(message.cancelNo);
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(18).string(message.token);
            if (message.chain != null && $Object.hasOwnProperty.call(message, "chain"))
                $root.farfield.Chain.encode(message.chain, writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Cancel.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Cancel();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.cancelNo = value;
                        else
                            delete message.cancelNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        message.chain = $root.farfield.Chain.decode(reader, reader.size(), $undefined, _depth + 1, message.chain);
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Cancel;
    })();

    farfield.CancelAck = (function() {

        const CancelAck = function (properties) {
            this.cancelNos = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        CancelAck.prototype.cancelNos = $util.emptyArray;

        CancelAck.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.cancelNos != null && message.cancelNos.length)
                writer.uint32(10).uint64s(message.cancelNos);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        CancelAck.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.CancelAck();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.cancelNos && message.cancelNos.length))
                                message.cancelNos = [];
                            reader.uint64s(message.cancelNos);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.cancelNos && message.cancelNos.length))
                            message.cancelNos = [];
                        message.cancelNos.push(reader.uint64());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return CancelAck;
    })();

    farfield.Running = (function() {

        const Running = function (properties) {
            this.items = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Running.prototype.id = "";
        Running.prototype.items = $util.emptyArray;
        Running.prototype.state = "";
        Running.prototype.detail = "";
        Running.prototype.done = 0;
        Running.prototype.total = 0;
        Running.prototype.attempt = 0;

        Running.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.items != null && message.items.length)
                writer.uint32(18).uint32s(message.items);
            if (message.state != null && $Object.hasOwnProperty.call(message, "state") && message.state !== "")
                writer.uint32(26).string(message.state);
            if (message.detail != null && $Object.hasOwnProperty.call(message, "detail") && message.detail !== "")
                writer.uint32(34).string(message.detail);
            if (message.done != null && $Object.hasOwnProperty.call(message, "done") && (typeof message.done === "object" ? message.done.low || message.done.high : message.done !== 0))
                writer.uint32(40).uint64(message.done);
            if (message.total != null && $Object.hasOwnProperty.call(message, "total") && (typeof message.total === "object" ? message.total.low || message.total.high : message.total !== 0))
                writer.uint32(48).uint64(message.total);
            if (message.attempt != null && $Object.hasOwnProperty.call(message, "attempt") && message.attempt !== 0)
                writer.uint32(56).uint32(message.attempt);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Running.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Running();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.items && message.items.length))
                                message.items = [];
                            reader.uint32s(message.items);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.items && message.items.length))
                            message.items = [];
                        message.items.push(reader.uint32());
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.state = value;
                        else
                            delete message.state;
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.detail = value;
                        else
                            delete message.detail;
                        continue;
                    }
                case 5: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.done = value;
                        else
                            delete message.done;
                        continue;
                    }
                case 6: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.total = value;
                        else
                            delete message.total;
                        continue;
                    }
                case 7: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.attempt = value;
                        else
                            delete message.attempt;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Running;
    })();

    farfield.Log = (function() {

        const Log = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Log.prototype.id = "";
        Log.prototype.item = 0;
        Log.prototype.attempt = 0;
        Log.prototype.offset = 0;
        Log.prototype.data = $util.newBuffer([]);
        Log.prototype.dropped = 0;

        Log.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.id != null && $Object.hasOwnProperty.call(message, "id") && message.id !== "")
                writer.uint32(10).string(message.id);
            if (message.item != null && $Object.hasOwnProperty.call(message, "item") && message.item !== 0)
                writer.uint32(16).uint32(message.item);
            if (message.attempt != null && $Object.hasOwnProperty.call(message, "attempt") && message.attempt !== 0)
                writer.uint32(24).uint32(message.attempt);
            if (message.offset != null && $Object.hasOwnProperty.call(message, "offset") && (typeof message.offset === "object" ? message.offset.low || message.offset.high : message.offset !== 0))
                writer.uint32(32).uint64(message.offset);
            if (message.data != null && $Object.hasOwnProperty.call(message, "data") && message.data.length)
                writer.uint32(42).bytes(message.data);
            if (message.dropped != null && $Object.hasOwnProperty.call(message, "dropped") && (typeof message.dropped === "object" ? message.dropped.low || message.dropped.high : message.dropped !== 0))
                writer.uint32(48).uint64(message.dropped);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Log.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Log();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.id = value;
                        else
                            delete message.id;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.item = value;
                        else
                            delete message.item;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.attempt = value;
                        else
                            delete message.attempt;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.offset = value;
                        else
                            delete message.offset;
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.data = value;
                        else
                            delete message.data;
                        continue;
                    }
                case 6: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.dropped = value;
                        else
                            delete message.dropped;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Log;
    })();

    farfield.Status = (function() {

        const Status = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Status.prototype.token = "";

        Status.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(10).string(message.token);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Status.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Status();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Status;
    })();

    farfield.HandBack = (function() {

        const HandBack = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        HandBack.prototype.handBackNo = 0;
        HandBack.prototype.ticket = $undefined;

        HandBack.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.handBackNo != null && $Object.hasOwnProperty.call(message, "handBackNo") && (typeof message.handBackNo === "object" ? message.handBackNo.low || message.handBackNo.high : message.handBackNo !== 0))
                writer.uint32(8).uint64(message.handBackNo);
            if (message.ticket != null && $Object.hasOwnProperty.call(message, "ticket"))
                $root.farfield.DeliveredTicket.encode(message.ticket, writer.uint32(18).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        HandBack.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.HandBack();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.handBackNo = value;
                        else
                            delete message.handBackNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        message.ticket = $root.farfield.DeliveredTicket.decode(reader, reader.size(), $undefined, _depth + 1, message.ticket);
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return HandBack;
    })();

    farfield.AccessAsk = (function() {

        const AccessAsk = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        AccessAsk.prototype.askNo = 0;
        AccessAsk.prototype.token = "";
        AccessAsk.prototype.chain = $undefined;

        AccessAsk.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.askNo != null && $Object.hasOwnProperty.call(message, "askNo") && (typeof message.askNo === "object" ? message.askNo.low || message.askNo.high : message.askNo !== 0))
                writer.uint32(8).uint64(message.askNo);
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(18).string(message.token);
            if (message.chain != null && $Object.hasOwnProperty.call(message, "chain"))
                $root.farfield.Chain.encode(message.chain, writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        AccessAsk.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.AccessAsk();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.askNo = value;
                        else
                            delete message.askNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        message.chain = $root.farfield.Chain.decode(reader, reader.size(), $undefined, _depth + 1, message.chain);
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return AccessAsk;
    })();

    farfield.AccessReply = (function() {

        const AccessReply = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        AccessReply.prototype.askNo = 0;
        AccessReply.prototype.token = "";

        AccessReply.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.askNo != null && $Object.hasOwnProperty.call(message, "askNo") && (typeof message.askNo === "object" ? message.askNo.low || message.askNo.high : message.askNo !== 0))
                writer.uint32(8).uint64(message.askNo);
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(18).string(message.token);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        AccessReply.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.AccessReply();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.askNo = value;
                        else
                            delete message.askNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return AccessReply;
    })();

    farfield.PilotFrame = (function() {

        const PilotFrame = function (properties) {
            this.messages = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PilotFrame.prototype.messages = $util.emptyArray;

        PilotFrame.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.messages != null && message.messages.length)
                for (let i = 0; i < message.messages.length; ++i)
                    $root.farfield.PilotMessage.encode(message.messages[i], writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PilotFrame.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PilotFrame();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.messages && message.messages.length))
                            message.messages = [];
                        message.messages.push($root.farfield.PilotMessage.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PilotFrame;
    })();

    farfield.PilotMessage = (function() {

        const PilotMessage = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PilotMessage.prototype.challenge = $undefined;
        PilotMessage.prototype.hello = $undefined;
        PilotMessage.prototype.welcome = $undefined;
        PilotMessage.prototype.bye = $undefined;
        PilotMessage.prototype.ping = $undefined;
        PilotMessage.prototype.pong = $undefined;
        PilotMessage.prototype.spec = $undefined;
        PilotMessage.prototype.launch = $undefined;
        PilotMessage.prototype.cancel = $undefined;
        PilotMessage.prototype.stop = $undefined;
        PilotMessage.prototype.started = $undefined;
        PilotMessage.prototype.progress = $undefined;
        PilotMessage.prototype.log = $undefined;
        PilotMessage.prototype.done = $undefined;
        PilotMessage.prototype.doneAck = $undefined;
        PilotMessage.prototype.draining = $undefined;
        PilotMessage.prototype.gangReady = $undefined;
        PilotMessage.prototype.gangGo = $undefined;

        let $oneOfFields;

        $Object.defineProperty(PilotMessage.prototype, "body", {
            get: $util.oneOfGetter($oneOfFields = ["challenge", "hello", "welcome", "bye", "ping", "pong", "spec", "launch", "cancel", "stop", "started", "progress", "log", "done", "doneAck", "draining", "gangReady", "gangGo"]),
            set: $util.oneOfSetter($oneOfFields)
        });

        PilotMessage.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.challenge != null && $Object.hasOwnProperty.call(message, "challenge"))
                $root.farfield.Challenge.encode(message.challenge, writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.hello != null && $Object.hasOwnProperty.call(message, "hello"))
                $root.farfield.PilotHello.encode(message.hello, writer.uint32(18).fork(), _depth + 1).ldelim();
            if (message.welcome != null && $Object.hasOwnProperty.call(message, "welcome"))
                $root.farfield.PilotWelcome.encode(message.welcome, writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.bye != null && $Object.hasOwnProperty.call(message, "bye"))
                $root.farfield.Bye.encode(message.bye, writer.uint32(34).fork(), _depth + 1).ldelim();
            if (message.ping != null && $Object.hasOwnProperty.call(message, "ping"))
                $root.farfield.Ping.encode(message.ping, writer.uint32(42).fork(), _depth + 1).ldelim();
            if (message.pong != null && $Object.hasOwnProperty.call(message, "pong"))
                $root.farfield.Pong.encode(message.pong, writer.uint32(50).fork(), _depth + 1).ldelim();
            if (message.spec != null && $Object.hasOwnProperty.call(message, "spec"))
                $root.farfield.Spec.encode(message.spec, writer.uint32(58).fork(), _depth + 1).ldelim();
            if (message.launch != null && $Object.hasOwnProperty.call(message, "launch"))
                $root.farfield.Launch.encode(message.launch, writer.uint32(66).fork(), _depth + 1).ldelim();
            if (message.cancel != null && $Object.hasOwnProperty.call(message, "cancel"))
                $root.farfield.CancelLeases.encode(message.cancel, writer.uint32(74).fork(), _depth + 1).ldelim();
            if (message.stop != null && $Object.hasOwnProperty.call(message, "stop"))
                $root.farfield.Stop.encode(message.stop, writer.uint32(82).fork(), _depth + 1).ldelim();
            if (message.started != null && $Object.hasOwnProperty.call(message, "started"))
                $root.farfield.Started.encode(message.started, writer.uint32(90).fork(), _depth + 1).ldelim();
            if (message.progress != null && $Object.hasOwnProperty.call(message, "progress"))
                $root.farfield.Progress.encode(message.progress, writer.uint32(98).fork(), _depth + 1).ldelim();
            if (message.log != null && $Object.hasOwnProperty.call(message, "log"))
                $root.farfield.PilotLog.encode(message.log, writer.uint32(106).fork(), _depth + 1).ldelim();
            if (message.done != null && $Object.hasOwnProperty.call(message, "done"))
                $root.farfield.Done.encode(message.done, writer.uint32(114).fork(), _depth + 1).ldelim();
            if (message.doneAck != null && $Object.hasOwnProperty.call(message, "doneAck"))
                $root.farfield.DoneAck.encode(message.doneAck, writer.uint32(122).fork(), _depth + 1).ldelim();
            if (message.draining != null && $Object.hasOwnProperty.call(message, "draining"))
                $root.farfield.Draining.encode(message.draining, writer.uint32(130).fork(), _depth + 1).ldelim();
            if (message.gangReady != null && $Object.hasOwnProperty.call(message, "gangReady"))
                $root.farfield.GangReady.encode(message.gangReady, writer.uint32(138).fork(), _depth + 1).ldelim();
            if (message.gangGo != null && $Object.hasOwnProperty.call(message, "gangGo"))
                $root.farfield.GangGo.encode(message.gangGo, writer.uint32(146).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PilotMessage.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PilotMessage();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        message.challenge = $root.farfield.Challenge.decode(reader, reader.size(), $undefined, _depth + 1, message.challenge);
                        message.body = "challenge";
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        message.hello = $root.farfield.PilotHello.decode(reader, reader.size(), $undefined, _depth + 1, message.hello);
                        message.body = "hello";
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        message.welcome = $root.farfield.PilotWelcome.decode(reader, reader.size(), $undefined, _depth + 1, message.welcome);
                        message.body = "welcome";
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        message.bye = $root.farfield.Bye.decode(reader, reader.size(), $undefined, _depth + 1, message.bye);
                        message.body = "bye";
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        message.ping = $root.farfield.Ping.decode(reader, reader.size(), $undefined, _depth + 1, message.ping);
                        message.body = "ping";
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        message.pong = $root.farfield.Pong.decode(reader, reader.size(), $undefined, _depth + 1, message.pong);
                        message.body = "pong";
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        message.spec = $root.farfield.Spec.decode(reader, reader.size(), $undefined, _depth + 1, message.spec);
                        message.body = "spec";
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        message.launch = $root.farfield.Launch.decode(reader, reader.size(), $undefined, _depth + 1, message.launch);
                        message.body = "launch";
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        message.cancel = $root.farfield.CancelLeases.decode(reader, reader.size(), $undefined, _depth + 1, message.cancel);
                        message.body = "cancel";
                        continue;
                    }
                case 10: {
                        if (wireType !== 2)
                            break;
                        message.stop = $root.farfield.Stop.decode(reader, reader.size(), $undefined, _depth + 1, message.stop);
                        message.body = "stop";
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        message.started = $root.farfield.Started.decode(reader, reader.size(), $undefined, _depth + 1, message.started);
                        message.body = "started";
                        continue;
                    }
                case 12: {
                        if (wireType !== 2)
                            break;
                        message.progress = $root.farfield.Progress.decode(reader, reader.size(), $undefined, _depth + 1, message.progress);
                        message.body = "progress";
                        continue;
                    }
                case 13: {
                        if (wireType !== 2)
                            break;
                        message.log = $root.farfield.PilotLog.decode(reader, reader.size(), $undefined, _depth + 1, message.log);
                        message.body = "log";
                        continue;
                    }
                case 14: {
                        if (wireType !== 2)
                            break;
                        message.done = $root.farfield.Done.decode(reader, reader.size(), $undefined, _depth + 1, message.done);
                        message.body = "done";
                        continue;
                    }
                case 15: {
                        if (wireType !== 2)
                            break;
                        message.doneAck = $root.farfield.DoneAck.decode(reader, reader.size(), $undefined, _depth + 1, message.doneAck);
                        message.body = "doneAck";
                        continue;
                    }
                case 16: {
                        if (wireType !== 2)
                            break;
                        message.draining = $root.farfield.Draining.decode(reader, reader.size(), $undefined, _depth + 1, message.draining);
                        message.body = "draining";
                        continue;
                    }
                case 17: {
                        if (wireType !== 2)
                            break;
                        message.gangReady = $root.farfield.GangReady.decode(reader, reader.size(), $undefined, _depth + 1, message.gangReady);
                        message.body = "gangReady";
                        continue;
                    }
                case 18: {
                        if (wireType !== 2)
                            break;
                        message.gangGo = $root.farfield.GangGo.decode(reader, reader.size(), $undefined, _depth + 1, message.gangGo);
                        message.body = "gangGo";
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PilotMessage;
    })();

    farfield.PilotHello = (function() {

        const PilotHello = function (properties) {
            this.held = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PilotHello.prototype.token = "";
        PilotHello.prototype.blockToken = "";
        PilotHello.prototype.pilotJwk = "";
        PilotHello.prototype.held = $util.emptyArray;
        PilotHello.prototype.node = "";
        PilotHello.prototype.pid = 0;
        PilotHello.prototype.slots = 0;
        PilotHello.prototype.protocolMin = 0;
        PilotHello.prototype.protocolMax = 0;
        PilotHello.prototype.leftS = 0;
        PilotHello.prototype.gpus = 0;
        PilotHello.prototype.cores = 0;
        PilotHello.prototype.memMib = 0;
        PilotHello.prototype.accelerator = "";
        PilotHello.prototype.gangs = false;

        PilotHello.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                writer.uint32(10).string(message.token);
            if (message.blockToken != null && $Object.hasOwnProperty.call(message, "blockToken") && message.blockToken !== "")
                writer.uint32(18).string(message.blockToken);
            if (message.pilotJwk != null && $Object.hasOwnProperty.call(message, "pilotJwk") && message.pilotJwk !== "")
                writer.uint32(26).string(message.pilotJwk);
            if (message.held != null && message.held.length)
                for (let i = 0; i < message.held.length; ++i)
                    $root.farfield.HeldLease.encode(message.held[i], writer.uint32(34).fork(), _depth + 1).ldelim();
            if (message.node != null && $Object.hasOwnProperty.call(message, "node") && message.node !== "")
                writer.uint32(42).string(message.node);
            if (message.pid != null && $Object.hasOwnProperty.call(message, "pid") && message.pid !== 0)
                writer.uint32(48).uint32(message.pid);
            if (message.slots != null && $Object.hasOwnProperty.call(message, "slots") && message.slots !== 0)
                writer.uint32(56).uint32(message.slots);
            if (message.protocolMin != null && $Object.hasOwnProperty.call(message, "protocolMin") && message.protocolMin !== 0)
                writer.uint32(64).uint32(message.protocolMin);
            if (message.protocolMax != null && $Object.hasOwnProperty.call(message, "protocolMax") && message.protocolMax !== 0)
                writer.uint32(72).uint32(message.protocolMax);
            if (message.leftS != null && $Object.hasOwnProperty.call(message, "leftS") && message.leftS !== 0)
                writer.uint32(80).uint32(message.leftS);
            if (message.gpus != null && $Object.hasOwnProperty.call(message, "gpus") && message.gpus !== 0)
                writer.uint32(88).uint32(message.gpus);
            if (message.cores != null && $Object.hasOwnProperty.call(message, "cores") && message.cores !== 0)
                writer.uint32(96).uint32(message.cores);
            if (message.memMib != null && $Object.hasOwnProperty.call(message, "memMib") && message.memMib !== 0)
                writer.uint32(104).uint32(message.memMib);
            if (message.accelerator != null && $Object.hasOwnProperty.call(message, "accelerator") && message.accelerator !== "")
                writer.uint32(114).string(message.accelerator);
            if (message.gangs != null && $Object.hasOwnProperty.call(message, "gangs") && message.gangs !== false)
                writer.uint32(120).bool(message.gangs);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PilotHello.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PilotHello();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.token = value;
                        else
                            delete message.token;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.blockToken = value;
                        else
                            delete message.blockToken;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.pilotJwk = value;
                        else
                            delete message.pilotJwk;
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if (!(message.held && message.held.length))
                            message.held = [];
                        message.held.push($root.farfield.HeldLease.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.node = value;
                        else
                            delete message.node;
                        continue;
                    }
                case 6: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.pid = value;
                        else
                            delete message.pid;
                        continue;
                    }
                case 7: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.slots = value;
                        else
                            delete message.slots;
                        continue;
                    }
                case 8: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMin = value;
                        else
                            delete message.protocolMin;
                        continue;
                    }
                case 9: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocolMax = value;
                        else
                            delete message.protocolMax;
                        continue;
                    }
                case 10: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.leftS = value;
                        else
                            delete message.leftS;
                        continue;
                    }
                case 11: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.gpus = value;
                        else
                            delete message.gpus;
                        continue;
                    }
                case 12: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.cores = value;
                        else
                            delete message.cores;
                        continue;
                    }
                case 13: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.memMib = value;
                        else
                            delete message.memMib;
                        continue;
                    }
                case 14: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.accelerator = value;
                        else
                            delete message.accelerator;
                        continue;
                    }
                case 15: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.bool())
                            message.gangs = value;
                        else
                            delete message.gangs;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PilotHello;
    })();

    farfield.HeldLease = (function() {

        const HeldLease = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        HeldLease.prototype.key = 0;
        HeldLease.prototype.attempt = 0;
        HeldLease.prototype.leaseEpoch = 0;

        HeldLease.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.key != null && $Object.hasOwnProperty.call(message, "key") && (typeof message.key === "object" ? message.key.low || message.key.high : message.key !== 0))
                writer.uint32(8).uint64(message.key);
            if (message.attempt != null && $Object.hasOwnProperty.call(message, "attempt") && message.attempt !== 0)
                writer.uint32(16).uint32(message.attempt);
            if (message.leaseEpoch != null && $Object.hasOwnProperty.call(message, "leaseEpoch") && (typeof message.leaseEpoch === "object" ? message.leaseEpoch.low || message.leaseEpoch.high : message.leaseEpoch !== 0))
                writer.uint32(24).uint64(message.leaseEpoch);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        HeldLease.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.HeldLease();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.key = value;
                        else
                            delete message.key;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.attempt = value;
                        else
                            delete message.attempt;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.leaseEpoch = value;
                        else
                            delete message.leaseEpoch;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return HeldLease;
    })();

    farfield.PilotWelcome = (function() {

        const PilotWelcome = function (properties) {
            this.drop = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PilotWelcome.prototype.protocol = 0;
        PilotWelcome.prototype.sessionEpoch = 0;
        PilotWelcome.prototype.drop = $util.emptyArray;

        PilotWelcome.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.protocol != null && $Object.hasOwnProperty.call(message, "protocol") && message.protocol !== 0)
                writer.uint32(8).uint32(message.protocol);
            if (message.sessionEpoch != null && $Object.hasOwnProperty.call(message, "sessionEpoch") && (typeof message.sessionEpoch === "object" ? message.sessionEpoch.low || message.sessionEpoch.high : message.sessionEpoch !== 0))
                writer.uint32(16).uint64(message.sessionEpoch);
            if (message.drop != null && message.drop.length)
                for (let i = 0; i < message.drop.length; ++i)
                    $root.farfield.HeldLease.encode(message.drop[i], writer.uint32(26).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PilotWelcome.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PilotWelcome();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.protocol = value;
                        else
                            delete message.protocol;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.sessionEpoch = value;
                        else
                            delete message.sessionEpoch;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if (!(message.drop && message.drop.length))
                            message.drop = [];
                        message.drop.push($root.farfield.HeldLease.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PilotWelcome;
    })();

    farfield.Spec = (function() {

        const Spec = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Spec.prototype.specNo = 0;
        Spec.prototype.poolKey = "";
        Spec.prototype.adapter = "";
        Spec.prototype.entry = $util.newBuffer([]);
        Spec.prototype.modelRoot = "";
        Spec.prototype.modelDigest = "";
        Spec.prototype.variant = "";
        Spec.prototype.runtime = "";
        Spec.prototype.image = "";
        Spec.prototype.threads = 0;
        Spec.prototype.timeoutS = 0;
        Spec.prototype.maxBytes = 0;
        Spec.prototype.uncertainty = $util.newBuffer([]);
        Spec.prototype.manifest = "";
        Spec.prototype.gpus = 0;
        Spec.prototype.cores = 0;
        Spec.prototype.memMib = 0;
        Spec.prototype.accelerator = "";

        Spec.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.specNo != null && $Object.hasOwnProperty.call(message, "specNo") && message.specNo !== 0)
                writer.uint32(8).uint32(message.specNo);
            if (message.poolKey != null && $Object.hasOwnProperty.call(message, "poolKey") && message.poolKey !== "")
                writer.uint32(18).string(message.poolKey);
            if (message.adapter != null && $Object.hasOwnProperty.call(message, "adapter") && message.adapter !== "")
                writer.uint32(26).string(message.adapter);
            if (message.entry != null && $Object.hasOwnProperty.call(message, "entry") && message.entry.length)
                writer.uint32(34).bytes(message.entry);
            if (message.modelRoot != null && $Object.hasOwnProperty.call(message, "modelRoot") && message.modelRoot !== "")
                writer.uint32(42).string(message.modelRoot);
            if (message.modelDigest != null && $Object.hasOwnProperty.call(message, "modelDigest") && message.modelDigest !== "")
                writer.uint32(50).string(message.modelDigest);
            if (message.variant != null && $Object.hasOwnProperty.call(message, "variant") && message.variant !== "")
                writer.uint32(58).string(message.variant);
            if (message.runtime != null && $Object.hasOwnProperty.call(message, "runtime") && message.runtime !== "")
                writer.uint32(66).string(message.runtime);
            if (message.image != null && $Object.hasOwnProperty.call(message, "image") && message.image !== "")
                writer.uint32(74).string(message.image);
            if (message.threads != null && $Object.hasOwnProperty.call(message, "threads") && message.threads !== 0)
                writer.uint32(80).uint32(message.threads);
            if (message.timeoutS != null && $Object.hasOwnProperty.call(message, "timeoutS") && message.timeoutS !== 0)
                writer.uint32(88).uint32(message.timeoutS);
            if (message.maxBytes != null && $Object.hasOwnProperty.call(message, "maxBytes") && (typeof message.maxBytes === "object" ? message.maxBytes.low || message.maxBytes.high : message.maxBytes !== 0))
                writer.uint32(96).uint64(message.maxBytes);
            if (message.uncertainty != null && $Object.hasOwnProperty.call(message, "uncertainty") && message.uncertainty.length)
                writer.uint32(106).bytes(message.uncertainty);
            if (message.manifest != null && $Object.hasOwnProperty.call(message, "manifest") && message.manifest !== "")
                writer.uint32(114).string(message.manifest);
            if (message.gpus != null && $Object.hasOwnProperty.call(message, "gpus") && message.gpus !== 0)
                writer.uint32(120).uint32(message.gpus);
            if (message.cores != null && $Object.hasOwnProperty.call(message, "cores") && message.cores !== 0)
                writer.uint32(128).uint32(message.cores);
            if (message.memMib != null && $Object.hasOwnProperty.call(message, "memMib") && message.memMib !== 0)
                writer.uint32(136).uint32(message.memMib);
            if (message.accelerator != null && $Object.hasOwnProperty.call(message, "accelerator") && message.accelerator !== "")
                writer.uint32(146).string(message.accelerator);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Spec.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Spec();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.specNo = value;
                        else
                            delete message.specNo;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.poolKey = value;
                        else
                            delete message.poolKey;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.adapter = value;
                        else
                            delete message.adapter;
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.entry = value;
                        else
                            delete message.entry;
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.modelRoot = value;
                        else
                            delete message.modelRoot;
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.modelDigest = value;
                        else
                            delete message.modelDigest;
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.variant = value;
                        else
                            delete message.variant;
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.runtime = value;
                        else
                            delete message.runtime;
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.image = value;
                        else
                            delete message.image;
                        continue;
                    }
                case 10: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.threads = value;
                        else
                            delete message.threads;
                        continue;
                    }
                case 11: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.timeoutS = value;
                        else
                            delete message.timeoutS;
                        continue;
                    }
                case 12: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.maxBytes = value;
                        else
                            delete message.maxBytes;
                        continue;
                    }
                case 13: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.uncertainty = value;
                        else
                            delete message.uncertainty;
                        continue;
                    }
                case 14: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.manifest = value;
                        else
                            delete message.manifest;
                        continue;
                    }
                case 15: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.gpus = value;
                        else
                            delete message.gpus;
                        continue;
                    }
                case 16: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.cores = value;
                        else
                            delete message.cores;
                        continue;
                    }
                case 17: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.memMib = value;
                        else
                            delete message.memMib;
                        continue;
                    }
                case 18: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.accelerator = value;
                        else
                            delete message.accelerator;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Spec;
    })();

    farfield.Launch = (function() {

        const Launch = function (properties) {
            this.keys = [];
            this.attempts = [];
            this.itemSizes = [];
            this.inlineSizes = [];
            this.files = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Launch.prototype.specNo = 0;
        Launch.prototype.keys = $util.emptyArray;
        Launch.prototype.attempts = $util.emptyArray;
        Launch.prototype.leaseEpoch = 0;
        Launch.prototype.itemSizes = $util.emptyArray;
        Launch.prototype.itemBytes = $util.newBuffer([]);
        Launch.prototype.inlineSizes = $util.emptyArray;
        Launch.prototype.inline = $util.newBuffer([]);
        Launch.prototype.files = $util.emptyArray;
        Launch.prototype.outDirs = $util.newBuffer([]);
        Launch.prototype.gang = $undefined;

        Launch.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.specNo != null && $Object.hasOwnProperty.call(message, "specNo") && message.specNo !== 0)
                writer.uint32(8).uint32(message.specNo);
            if (message.keys != null && message.keys.length)
                writer.uint32(18).uint64s(message.keys);
            if (message.attempts != null && message.attempts.length)
                writer.uint32(26).uint32s(message.attempts);
            if (message.leaseEpoch != null && $Object.hasOwnProperty.call(message, "leaseEpoch") && (typeof message.leaseEpoch === "object" ? message.leaseEpoch.low || message.leaseEpoch.high : message.leaseEpoch !== 0))
                writer.uint32(32).uint64(message.leaseEpoch);
            if (message.itemSizes != null && message.itemSizes.length)
                writer.uint32(42).uint32s(message.itemSizes);
            if (message.itemBytes != null && $Object.hasOwnProperty.call(message, "itemBytes") && message.itemBytes.length)
                writer.uint32(50).bytes(message.itemBytes);
            if (message.inlineSizes != null && message.inlineSizes.length)
                writer.uint32(58).uint32s(message.inlineSizes);
            if (message.inline != null && $Object.hasOwnProperty.call(message, "inline") && message.inline.length)
                writer.uint32(66).bytes(message.inline);
            if (message.files != null && message.files.length)
                for (let i = 0; i < message.files.length; ++i)
                    $root.farfield.FileArg.encode(message.files[i], writer.uint32(74).fork(), _depth + 1).ldelim();
            if (message.outDirs != null && $Object.hasOwnProperty.call(message, "outDirs") && message.outDirs.length)
                writer.uint32(82).bytes(message.outDirs);
            if (message.gang != null && $Object.hasOwnProperty.call(message, "gang"))
                $root.farfield.Gang.encode(message.gang, writer.uint32(90).fork(), _depth + 1).ldelim();
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Launch.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Launch();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.specNo = value;
                        else
                            delete message.specNo;
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.keys && message.keys.length))
                                message.keys = [];
                            reader.uint64s(message.keys);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.keys && message.keys.length))
                            message.keys = [];
                        message.keys.push(reader.uint64());
                        continue;
                    }
                case 3: {
                        if (wireType === 2) {
                            if (!(message.attempts && message.attempts.length))
                                message.attempts = [];
                            reader.uint32s(message.attempts);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.attempts && message.attempts.length))
                            message.attempts = [];
                        message.attempts.push(reader.uint32());
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.leaseEpoch = value;
                        else
                            delete message.leaseEpoch;
                        continue;
                    }
                case 5: {
                        if (wireType === 2) {
                            if (!(message.itemSizes && message.itemSizes.length))
                                message.itemSizes = [];
                            reader.uint32s(message.itemSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.itemSizes && message.itemSizes.length))
                            message.itemSizes = [];
                        message.itemSizes.push(reader.uint32());
                        continue;
                    }
                case 6: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.itemBytes = value;
                        else
                            delete message.itemBytes;
                        continue;
                    }
                case 7: {
                        if (wireType === 2) {
                            if (!(message.inlineSizes && message.inlineSizes.length))
                                message.inlineSizes = [];
                            reader.uint32s(message.inlineSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.inlineSizes && message.inlineSizes.length))
                            message.inlineSizes = [];
                        message.inlineSizes.push(reader.uint32());
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.inline = value;
                        else
                            delete message.inline;
                        continue;
                    }
                case 9: {
                        if (wireType !== 2)
                            break;
                        if (!(message.files && message.files.length))
                            message.files = [];
                        message.files.push($root.farfield.FileArg.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 10: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.outDirs = value;
                        else
                            delete message.outDirs;
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        message.gang = $root.farfield.Gang.decode(reader, reader.size(), $undefined, _depth + 1, message.gang);
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Launch;
    })();

    farfield.Gang = (function() {

        const Gang = function (properties) {
            this.nodes = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Gang.prototype.nodeRank = 0;
        Gang.prototype.nodes = $util.emptyArray;
        Gang.prototype.ranksPerNode = 0;

        Gang.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.nodeRank != null && $Object.hasOwnProperty.call(message, "nodeRank") && message.nodeRank !== 0)
                writer.uint32(8).uint32(message.nodeRank);
            if (message.nodes != null && message.nodes.length)
                for (let i = 0; i < message.nodes.length; ++i)
                    writer.uint32(18).string(message.nodes[i]);
            if (message.ranksPerNode != null && $Object.hasOwnProperty.call(message, "ranksPerNode") && message.ranksPerNode !== 0)
                writer.uint32(24).uint32(message.ranksPerNode);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Gang.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Gang();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.nodeRank = value;
                        else
                            delete message.nodeRank;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if (!(message.nodes && message.nodes.length))
                            message.nodes = [];
                        message.nodes.push(reader.stringVerify());
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.ranksPerNode = value;
                        else
                            delete message.ranksPerNode;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Gang;
    })();

    farfield.GangReady = (function() {

        const GangReady = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        GangReady.prototype.lease = $undefined;
        GangReady.prototype.port = 0;

        GangReady.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.lease != null && $Object.hasOwnProperty.call(message, "lease"))
                $root.farfield.HeldLease.encode(message.lease, writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.port != null && $Object.hasOwnProperty.call(message, "port") && message.port !== 0)
                writer.uint32(16).uint32(message.port);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        GangReady.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.GangReady();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        message.lease = $root.farfield.HeldLease.decode(reader, reader.size(), $undefined, _depth + 1, message.lease);
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.port = value;
                        else
                            delete message.port;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return GangReady;
    })();

    farfield.GangGo = (function() {

        const GangGo = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        GangGo.prototype.lease = $undefined;
        GangGo.prototype.address = "";

        GangGo.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.lease != null && $Object.hasOwnProperty.call(message, "lease"))
                $root.farfield.HeldLease.encode(message.lease, writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.address != null && $Object.hasOwnProperty.call(message, "address") && message.address !== "")
                writer.uint32(18).string(message.address);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        GangGo.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.GangGo();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        message.lease = $root.farfield.HeldLease.decode(reader, reader.size(), $undefined, _depth + 1, message.lease);
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.address = value;
                        else
                            delete message.address;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return GangGo;
    })();

    farfield.FileArg = (function() {

        const FileArg = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        FileArg.prototype.index = 0;
        FileArg.prototype.arg = 0;
        FileArg.prototype.path = "";

        FileArg.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.index != null && $Object.hasOwnProperty.call(message, "index") && message.index !== 0)
                writer.uint32(8).uint32(message.index);
            if (message.arg != null && $Object.hasOwnProperty.call(message, "arg") && message.arg !== 0)
                writer.uint32(16).uint32(message.arg);
            if (message.path != null && $Object.hasOwnProperty.call(message, "path") && message.path !== "")
                writer.uint32(26).string(message.path);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        FileArg.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.FileArg();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.index = value;
                        else
                            delete message.index;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.arg = value;
                        else
                            delete message.arg;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.path = value;
                        else
                            delete message.path;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return FileArg;
    })();

    farfield.CancelLeases = (function() {

        const CancelLeases = function (properties) {
            this.leases = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        CancelLeases.prototype.leases = $util.emptyArray;
        CancelLeases.prototype.reason = "";

        CancelLeases.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.leases != null && message.leases.length)
                for (let i = 0; i < message.leases.length; ++i)
                    $root.farfield.HeldLease.encode(message.leases[i], writer.uint32(10).fork(), _depth + 1).ldelim();
            if (message.reason != null && $Object.hasOwnProperty.call(message, "reason") && message.reason !== "")
                writer.uint32(18).string(message.reason);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        CancelLeases.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.CancelLeases();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if (!(message.leases && message.leases.length))
                            message.leases = [];
                        message.leases.push($root.farfield.HeldLease.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.reason = value;
                        else
                            delete message.reason;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return CancelLeases;
    })();

    farfield.Stop = (function() {

        const Stop = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Stop.prototype.reason = "";
        Stop.prototype.graceS = 0;

        Stop.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.reason != null && $Object.hasOwnProperty.call(message, "reason") && message.reason !== "")
                writer.uint32(10).string(message.reason);
            if (message.graceS != null && $Object.hasOwnProperty.call(message, "graceS") && message.graceS !== 0)
                writer.uint32(16).uint32(message.graceS);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Stop.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Stop();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.reason = value;
                        else
                            delete message.reason;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.graceS = value;
                        else
                            delete message.graceS;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Stop;
    })();

    farfield.Started = (function() {

        const Started = function (properties) {
            this.keys = [];
            this.attempts = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Started.prototype.keys = $util.emptyArray;
        Started.prototype.attempts = $util.emptyArray;
        Started.prototype.leaseEpoch = 0;
        Started.prototype.state = "";

        Started.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.keys != null && message.keys.length)
                writer.uint32(10).uint64s(message.keys);
            if (message.attempts != null && message.attempts.length)
                writer.uint32(18).uint32s(message.attempts);
            if (message.leaseEpoch != null && $Object.hasOwnProperty.call(message, "leaseEpoch") && (typeof message.leaseEpoch === "object" ? message.leaseEpoch.low || message.leaseEpoch.high : message.leaseEpoch !== 0))
                writer.uint32(24).uint64(message.leaseEpoch);
            if (message.state != null && $Object.hasOwnProperty.call(message, "state") && message.state !== "")
                writer.uint32(34).string(message.state);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Started.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Started();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType === 2) {
                            if (!(message.keys && message.keys.length))
                                message.keys = [];
                            reader.uint64s(message.keys);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.keys && message.keys.length))
                            message.keys = [];
                        message.keys.push(reader.uint64());
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.attempts && message.attempts.length))
                                message.attempts = [];
                            reader.uint32s(message.attempts);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.attempts && message.attempts.length))
                            message.attempts = [];
                        message.attempts.push(reader.uint32());
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.leaseEpoch = value;
                        else
                            delete message.leaseEpoch;
                        continue;
                    }
                case 4: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.state = value;
                        else
                            delete message.state;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Started;
    })();

    farfield.Progress = (function() {

        const Progress = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Progress.prototype.key = 0;
        Progress.prototype.attempt = 0;
        Progress.prototype.leaseEpoch = 0;
        Progress.prototype.done = 0;
        Progress.prototype.total = 0;
        Progress.prototype.perSecond = 0;

        Progress.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.key != null && $Object.hasOwnProperty.call(message, "key") && (typeof message.key === "object" ? message.key.low || message.key.high : message.key !== 0))
                writer.uint32(8).uint64(message.key);
            if (message.attempt != null && $Object.hasOwnProperty.call(message, "attempt") && message.attempt !== 0)
                writer.uint32(16).uint32(message.attempt);
            if (message.leaseEpoch != null && $Object.hasOwnProperty.call(message, "leaseEpoch") && (typeof message.leaseEpoch === "object" ? message.leaseEpoch.low || message.leaseEpoch.high : message.leaseEpoch !== 0))
                writer.uint32(24).uint64(message.leaseEpoch);
            if (message.done != null && $Object.hasOwnProperty.call(message, "done") && (typeof message.done === "object" ? message.done.low || message.done.high : message.done !== 0))
                writer.uint32(32).uint64(message.done);
            if (message.total != null && $Object.hasOwnProperty.call(message, "total") && (typeof message.total === "object" ? message.total.low || message.total.high : message.total !== 0))
                writer.uint32(40).uint64(message.total);
            if (message.perSecond != null && $Object.hasOwnProperty.call(message, "perSecond") && !$Object.is(message.perSecond, 0))
                writer.uint32(49).double(message.perSecond);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Progress.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Progress();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.key = value;
                        else
                            delete message.key;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.attempt = value;
                        else
                            delete message.attempt;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.leaseEpoch = value;
                        else
                            delete message.leaseEpoch;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.done = value;
                        else
                            delete message.done;
                        continue;
                    }
                case 5: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.total = value;
                        else
                            delete message.total;
                        continue;
                    }
                case 6: {
                        if (wireType !== 1)
                            break;
                        if (!$Object.is(value = reader.double(), 0))
                            message.perSecond = value;
                        else
                            delete message.perSecond;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Progress;
    })();

    farfield.PilotLog = (function() {

        const PilotLog = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        PilotLog.prototype.key = 0;
        PilotLog.prototype.attempt = 0;
        PilotLog.prototype.data = $util.newBuffer([]);
        PilotLog.prototype.dropped = 0;

        PilotLog.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.key != null && $Object.hasOwnProperty.call(message, "key") && (typeof message.key === "object" ? message.key.low || message.key.high : message.key !== 0))
                writer.uint32(8).uint64(message.key);
            if (message.attempt != null && $Object.hasOwnProperty.call(message, "attempt") && message.attempt !== 0)
                writer.uint32(16).uint32(message.attempt);
            if (message.data != null && $Object.hasOwnProperty.call(message, "data") && message.data.length)
                writer.uint32(26).bytes(message.data);
            if (message.dropped != null && $Object.hasOwnProperty.call(message, "dropped") && (typeof message.dropped === "object" ? message.dropped.low || message.dropped.high : message.dropped !== 0))
                writer.uint32(32).uint64(message.dropped);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        PilotLog.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.PilotLog();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.key = value;
                        else
                            delete message.key;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.attempt = value;
                        else
                            delete message.attempt;
                        continue;
                    }
                case 3: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.data = value;
                        else
                            delete message.data;
                        continue;
                    }
                case 4: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.dropped = value;
                        else
                            delete message.dropped;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return PilotLog;
    })();

    farfield.Draining = (function() {

        const Draining = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Draining.prototype.reason = "";
        Draining.prototype.leftS = 0;

        Draining.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.reason != null && $Object.hasOwnProperty.call(message, "reason") && message.reason !== "")
                writer.uint32(10).string(message.reason);
            if (message.leftS != null && $Object.hasOwnProperty.call(message, "leftS") && message.leftS !== 0)
                writer.uint32(16).uint32(message.leftS);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Draining.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Draining();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.reason = value;
                        else
                            delete message.reason;
                        continue;
                    }
                case 2: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.leftS = value;
                        else
                            delete message.leftS;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Draining;
    })();

    farfield.Done = (function() {

        const Done = function (properties) {
            this.keys = [];
            this.attempts = [];
            this.leaseEpochs = [];
            this.detail = [];
            this.details = [];
            this.resultSizes = [];
            this.files = [];
            this.meas = [];
            this.measRecords = [];
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        Done.prototype.doneNo = 0;
        Done.prototype.keys = $util.emptyArray;
        Done.prototype.attempts = $util.emptyArray;
        Done.prototype.leaseEpochs = $util.emptyArray;
        Done.prototype.statuses = $util.newBuffer([]);
        Done.prototype.detail = $util.emptyArray;
        Done.prototype.details = $util.emptyArray;
        Done.prototype.resultDigests = $util.newBuffer([]);
        Done.prototype.resultSizes = $util.emptyArray;
        Done.prototype.results = $util.newBuffer([]);
        Done.prototype.files = $util.emptyArray;
        Done.prototype.meas = $util.emptyArray;
        Done.prototype.measRecords = $util.emptyArray;

        Done.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.doneNo != null && $Object.hasOwnProperty.call(message, "doneNo") && (typeof message.doneNo === "object" ? message.doneNo.low || message.doneNo.high : message.doneNo !== 0))
                writer.uint32(8).uint64(message.doneNo);
            if (message.keys != null && message.keys.length)
                writer.uint32(18).uint64s(message.keys);
            if (message.attempts != null && message.attempts.length)
                writer.uint32(26).uint32s(message.attempts);
            if (message.leaseEpochs != null && message.leaseEpochs.length)
                writer.uint32(34).uint64s(message.leaseEpochs);
            if (message.statuses != null && $Object.hasOwnProperty.call(message, "statuses") && message.statuses.length)
                writer.uint32(42).bytes(message.statuses);
            if (message.detail != null && message.detail.length)
                writer.uint32(50).uint32s(message.detail);
            if (message.details != null && message.details.length)
                for (let i = 0; i < message.details.length; ++i)
                    writer.uint32(58).bytes(message.details[i]);
            if (message.resultDigests != null && $Object.hasOwnProperty.call(message, "resultDigests") && message.resultDigests.length)
                writer.uint32(66).bytes(message.resultDigests);
            if (message.resultSizes != null && message.resultSizes.length)
                writer.uint32(74).uint32s(message.resultSizes);
            if (message.results != null && $Object.hasOwnProperty.call(message, "results") && message.results.length)
                writer.uint32(82).bytes(message.results);
            if (message.files != null && message.files.length)
                for (let i = 0; i < message.files.length; ++i)
                    $root.farfield.FileResult.encode(message.files[i], writer.uint32(90).fork(), _depth + 1).ldelim();
            if (message.meas != null && message.meas.length)
                writer.uint32(98).uint32s(message.meas);
            if (message.measRecords != null && message.measRecords.length)
                for (let i = 0; i < message.measRecords.length; ++i)
                    writer.uint32(106).bytes(message.measRecords[i]);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        Done.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.Done();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.doneNo = value;
                        else
                            delete message.doneNo;
                        continue;
                    }
                case 2: {
                        if (wireType === 2) {
                            if (!(message.keys && message.keys.length))
                                message.keys = [];
                            reader.uint64s(message.keys);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.keys && message.keys.length))
                            message.keys = [];
                        message.keys.push(reader.uint64());
                        continue;
                    }
                case 3: {
                        if (wireType === 2) {
                            if (!(message.attempts && message.attempts.length))
                                message.attempts = [];
                            reader.uint32s(message.attempts);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.attempts && message.attempts.length))
                            message.attempts = [];
                        message.attempts.push(reader.uint32());
                        continue;
                    }
                case 4: {
                        if (wireType === 2) {
                            if (!(message.leaseEpochs && message.leaseEpochs.length))
                                message.leaseEpochs = [];
                            reader.uint64s(message.leaseEpochs);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.leaseEpochs && message.leaseEpochs.length))
                            message.leaseEpochs = [];
                        message.leaseEpochs.push(reader.uint64());
                        continue;
                    }
                case 5: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.statuses = value;
                        else
                            delete message.statuses;
                        continue;
                    }
                case 6: {
                        if (wireType === 2) {
                            if (!(message.detail && message.detail.length))
                                message.detail = [];
                            reader.uint32s(message.detail);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.detail && message.detail.length))
                            message.detail = [];
                        message.detail.push(reader.uint32());
                        continue;
                    }
                case 7: {
                        if (wireType !== 2)
                            break;
                        if (!(message.details && message.details.length))
                            message.details = [];
                        message.details.push(reader.bytes());
                        continue;
                    }
                case 8: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.resultDigests = value;
                        else
                            delete message.resultDigests;
                        continue;
                    }
                case 9: {
                        if (wireType === 2) {
                            if (!(message.resultSizes && message.resultSizes.length))
                                message.resultSizes = [];
                            reader.uint32s(message.resultSizes);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.resultSizes && message.resultSizes.length))
                            message.resultSizes = [];
                        message.resultSizes.push(reader.uint32());
                        continue;
                    }
                case 10: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.bytes()).length)
                            message.results = value;
                        else
                            delete message.results;
                        continue;
                    }
                case 11: {
                        if (wireType !== 2)
                            break;
                        if (!(message.files && message.files.length))
                            message.files = [];
                        message.files.push($root.farfield.FileResult.decode(reader, reader.size(), $undefined, _depth + 1));
                        continue;
                    }
                case 12: {
                        if (wireType === 2) {
                            if (!(message.meas && message.meas.length))
                                message.meas = [];
                            reader.uint32s(message.meas);
                            continue;
                        }
                        if (wireType !== 0)
                            break;
                        if (!(message.meas && message.meas.length))
                            message.meas = [];
                        message.meas.push(reader.uint32());
                        continue;
                    }
                case 13: {
                        if (wireType !== 2)
                            break;
                        if (!(message.measRecords && message.measRecords.length))
                            message.measRecords = [];
                        message.measRecords.push(reader.bytes());
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return Done;
    })();

    farfield.FileResult = (function() {

        const FileResult = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        FileResult.prototype.index = 0;
        FileResult.prototype.path = "";
        FileResult.prototype.size = 0;

        FileResult.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.index != null && $Object.hasOwnProperty.call(message, "index") && message.index !== 0)
                writer.uint32(8).uint32(message.index);
            if (message.path != null && $Object.hasOwnProperty.call(message, "path") && message.path !== "")
                writer.uint32(18).string(message.path);
            if (message.size != null && $Object.hasOwnProperty.call(message, "size") && (typeof message.size === "object" ? message.size.low || message.size.high : message.size !== 0))
                writer.uint32(24).uint64(message.size);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        FileResult.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.FileResult();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (value = reader.uint32())
                            message.index = value;
                        else
                            delete message.index;
                        continue;
                    }
                case 2: {
                        if (wireType !== 2)
                            break;
                        if ((value = reader.stringVerify()).length)
                            message.path = value;
                        else
                            delete message.path;
                        continue;
                    }
                case 3: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.size = value;
                        else
                            delete message.size;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return FileResult;
    })();

    farfield.DoneAck = (function() {

        const DoneAck = function (properties) {
            if (properties)
                for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                    if (properties[keys[i]] != null && keys[i] !== "__proto__")
                        this[keys[i]] = properties[keys[i]];
        };

        DoneAck.prototype.doneNo = 0;

        DoneAck.encode = function (message, writer, _depth) {
            if (!writer)
                writer = $Writer.create();
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $util.recursionLimit)
                throw $Error("max depth exceeded");
            if (message.doneNo != null && $Object.hasOwnProperty.call(message, "doneNo") && (typeof message.doneNo === "object" ? message.doneNo.low || message.doneNo.high : message.doneNo !== 0))
                writer.uint32(8).uint64(message.doneNo);
            if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                for (let i = 0; i < message.$unknowns.length; ++i)
                    writer.raw(message.$unknowns[i]);
            return writer;
        };

        DoneAck.decode = function (reader, length, _end, _depth, _target) {
            if (!(reader instanceof $Reader))
                reader = $Reader.create(reader);
            if (_depth === $undefined)
                _depth = 0;
            if (_depth > $Reader.recursionLimit)
                throw $Error("max depth exceeded");
            let end, message, value;
            if (length === $undefined)
                end = reader.len;
            else {
                end = reader.pos + length;
                if (end > reader.len)
                    throw $RangeError("index out of range");
                length = reader.len;
                reader.len = end;
            }
            message = _target || new $root.farfield.DoneAck();
            while (reader.pos < end) {
                let start = reader.pos;
                let tag = reader.tag();
                if (tag === _end) {
                    _end = $undefined;
                    break;
                }
                let wireType = tag & 7;
                switch (tag >>>= 3) {
                case 1: {
                        if (wireType !== 0)
                            break;
                        if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                            message.doneNo = value;
                        else
                            delete message.doneNo;
                        continue;
                    }
                }
                reader.skipType(wireType, _depth, tag);
                if (!reader.discardUnknown) {
                    $util.makeProp(message, "$unknowns", false);
                    (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                }
            }
            if (length !== $undefined) {
                if (reader.pos !== end)
                    throw $RangeError("index out of range");
                reader.len = length;
            }
            if (_end !== $undefined)
                throw $Error("missing end group");
            return message;
        };

        return DoneAck;
    })();

    return farfield;
})();

export {
  $root as default
};
