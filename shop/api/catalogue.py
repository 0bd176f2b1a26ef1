"""Products on sale. Open to everybody."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers

from shop.api.openapi import refusals
from shop.catalogue import Product, Variant, on_sale
from shop.money import rupees


class VariantSerializer(serializers.ModelSerializer):
    price = serializers.SerializerMethodField()
    available = serializers.SerializerMethodField()

    class Meta:
        model = Variant
        fields = ("id", "sku", "name", "price", "price_paise", "available")

    def get_price(self, variant: Variant) -> float:
        return rupees(variant.price_paise)

    def get_available(self, variant: Variant) -> int:
        return variant.stock.free if hasattr(variant, "stock") else 0


class ProductSerializer(serializers.ModelSerializer):
    variants = VariantSerializer(many=True)

    class Meta:
        model = Product
        fields = ("id", "name", "slug", "description", "image", "variants")


class ProductView(generics.GenericAPIView):
    authentication_classes = ()
    permission_classes = ()
    serializer_class = ProductSerializer

    def get_queryset(self) -> QuerySet[Product]:
        return on_sale()


@extend_schema_view(
    get=extend_schema(
        parameters=[
            OpenApiParameter(
                "search", str, description="Words that the name or the description must contain."
            )
        ],
        responses={200: ProductSerializer(many=True)} | refusals(404),
    )
)
class Products(ProductView, generics.ListAPIView):
    """Products on sale, in pages."""

    def get_queryset(self) -> QuerySet[Product]:
        return on_sale(search=self.request.query_params.get("search", ""))


@extend_schema_view(get=extend_schema(responses={200: ProductSerializer} | refusals(404)))
class ProductDetail(ProductView, generics.RetrieveAPIView):
    """A product with its variants."""
