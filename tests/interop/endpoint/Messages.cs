// What the two sides send each other. Bodies are JSON.
using NServiceBus;

namespace Shop;

public class PriceUpdated : ICommand
{
    public string Text { get; set; } = "";
}

public class PriceFile : ICommand
{
    public string Text { get; set; } = "";
    public ClaimCheckProperty<byte[]>? Content { get; set; }
}

public class AskPrice : ICommand
{
    public string Text { get; set; } = "";
}

public class PriceAnswer : IMessage
{
    public string Text { get; set; } = "";
}
