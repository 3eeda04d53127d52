// An endpoint on the real NServiceBus.Gateway, driven by lines of JSON.
//
//   endpoint NAME DIR [--listen URL] [--site KEY=URL]... [--retries N] [--retry-ms MS] [--reply-to URL]
//
// DIR holds its queues and its claim checks. stdin, a command a line:
//   {"do":"send","sites":["A"],"type":"PriceUpdated|PriceFile|AskPrice","text":"...","count":N,"file":"..."}
//       count: that many messages, `{0}` in the text is the number (1...); file: the property of a PriceFile
//   {"do":"stop"}
// stdout, an event a line:
//   ready   |   {"event":"all-sent","count":N}
//   {"event":"handled","type":...,"id":...,"text":...,"bytes":N,"sha256":...,"headers":{...}}
// A handler of AskPrice answers with a PriceAnswer.
using System.Security.Cryptography;
using System.Text.Json;
using NServiceBus;
using NServiceBus.Gateway;

namespace Shop;

static class Output
{
    public static void Line(object value)
    {
        var text = value as string ?? JsonSerializer.Serialize(value);
        lock (Console.Out)
        {
            Console.Out.WriteLine(text);
            Console.Out.Flush();
        }
    }

    public static void Handled(object message, IMessageHandlerContext context, string text, byte[]? content = null) => Line(new
    {
        @event = "handled",
        type = message.GetType().Name,
        id = context.MessageId,
        text,
        bytes = content?.Length,
        sha256 = content == null ? null : Convert.ToHexString(SHA256.HashData(content)).ToLowerInvariant(),
        headers = context.MessageHeaders,
    });
}

public class Handlers : IHandleMessages<PriceUpdated>, IHandleMessages<PriceFile>, IHandleMessages<AskPrice>, IHandleMessages<PriceAnswer>
{
    public Task Handle(PriceUpdated message, IMessageHandlerContext context)
    {
        Output.Handled(message, context, message.Text);
        return Task.CompletedTask;
    }

    public Task Handle(PriceFile message, IMessageHandlerContext context)
    {
        Output.Handled(message, context, message.Text, message.Content?.Value);
        return Task.CompletedTask;
    }

    public async Task Handle(AskPrice message, IMessageHandlerContext context)
    {
        Output.Handled(message, context, message.Text);
        await context.Reply(new PriceAnswer { Text = "answer to " + message.Text });
    }

    public Task Handle(PriceAnswer message, IMessageHandlerContext context)
    {
        Output.Handled(message, context, message.Text);
        return Task.CompletedTask;
    }
}

class Options
{
    public string Name = "", Directory = "";
    public string? Listen, ReplyTo;
    public List<(string Key, string Url)> Sites = new();
    public int Retries = 4, RetryMs = 1000;

    public static Options Parse(string[] words)
    {
        var options = new Options { Name = words[0], Directory = words[1] };
        for (var i = 2; i < words.Length; i += 2)
        {
            var value = words[i + 1];
            switch (words[i])
            {
                case "--listen": options.Listen = value; break;
                case "--reply-to": options.ReplyTo = value; break;
                case "--site": options.Sites.Add((value[..value.IndexOf('=')], value[(value.IndexOf('=') + 1)..])); break;
                case "--retries": options.Retries = int.Parse(value); break;
                case "--retry-ms": options.RetryMs = int.Parse(value); break;
                default: throw new ArgumentException($"unknown option {words[i]}");
            }
        }
        return options;
    }
}

static class Program
{
    static async Task Main(string[] words)
    {
        var options = Options.Parse(words);
        var endpoint = await Endpoint.Start(Configure(options));
        Output.Line("ready");
        while (await Console.In.ReadLineAsync() is { } line)
        {
            var command = JsonDocument.Parse(line).RootElement;
            if (command.GetProperty("do").GetString() == "stop") break;
            await Send(endpoint, command);
        }
        await endpoint.Stop();
    }

    static EndpointConfiguration Configure(Options options)
    {
        NServiceBus.Logging.LogManager.Use<NServiceBus.Logging.DefaultFactory>().Directory(Directory.CreateDirectory(options.Directory).FullName);
        var configuration = new EndpointConfiguration(options.Name);
        configuration.UseTransport(new LearningTransport { StorageDirectory = Path.Combine(options.Directory, "transport") });
        configuration.UseSerialization<SystemJsonSerializer>();
        configuration.UseClaimCheck<FileShareClaimCheck, SystemJsonClaimCheckSerializer>().BasePath(Path.Combine(options.Directory, "claim-checks"));
        configuration.EnableInstallers();
        configuration.SendFailedMessagesTo("error");
        configuration.Recoverability().Delayed(delayed => delayed.NumberOfRetries(0));

        var gateway = configuration.Gateway(new NonDurableDeduplicationConfiguration { CacheSize = 100_000 });
        if (options.Listen != null) gateway.AddReceiveChannel(options.Listen, "http", 8, true);
        if (options.ReplyTo != null) gateway.SetReplyToUri(options.ReplyTo);
        foreach (var (key, url) in options.Sites) gateway.AddSite(key, url);
        gateway.Retries(options.Retries, TimeSpan.FromMilliseconds(options.RetryMs));
        return configuration;
    }

    static async Task Send(IEndpointInstance endpoint, JsonElement command)
    {
        var sites = command.GetProperty("sites").EnumerateArray().Select(site => site.GetString()!).ToArray();
        var count = command.TryGetProperty("count", out var number) ? number.GetInt32() : 1;
        for (var i = 1; i <= count; i++)
            await endpoint.SendToSites(sites, Message(command, command.GetProperty("text").GetString()!.Replace("{0}", i.ToString())));
        Output.Line(new { @event = "all-sent", count });
    }

    static object Message(JsonElement command, string text) => command.GetProperty("type").GetString() switch
    {
        "PriceUpdated" => new PriceUpdated { Text = text },
        "AskPrice" => new AskPrice { Text = text },
        "PriceFile" => new PriceFile
        {
            Text = text,
            Content = new ClaimCheckProperty<byte[]>(File.ReadAllBytes(command.GetProperty("file").GetString()!)),
        },
        var other => throw new ArgumentException($"unknown type {other}"),
    };
}
